// Starting as a user does: each mistake is told with what happened, where, and
// the way out; 2 is a wrong command line or configuration, 1 is a failed try.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { createServer as createSecureServer } from 'node:tls';
import { certificate } from './certificates.mjs';
import { BINARY, Gateway } from './gateway.mjs';

const NOBODY = 65534;

/** Runs to the end, or to SIGTERM after `ready` was said. */
function run(command, args, options = {}) {
  return new Promise((done) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    let text = '', isAsked = false;
    const timer = setTimeout(() => child.kill('SIGKILL'), 60000);
    const take = (bytes) => {
      text += bytes;
      if (isAsked || !/ ready /.test(text)) return;
      isAsked = true; // a second signal would cut the drain short
      child.kill('SIGTERM');
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.on('error', (error) => { clearTimeout(timer); done({ code: null, text: String(error) }); });
    child.on('close', (code, signal) => { clearTimeout(timer); done({ code, signal, text }); });
  });
}

test('starting', { concurrency: true }, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-start-'));
  chmodSync(dir, 0o755);
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const file = (name, text) => { writeFileSync(join(dir, name), text); return join(dir, name); };
  const good = file('good.yaml', 'http_server:\n  address: 127.0.0.1\nclient:\n  token:\n    hmac_secret_key: 0123456789abcdef0123456789abcdef\n');
  const serve = (config, ...args) => run(BINARY, ['serve', '--config', config, '--shards', '1', '--port', '0', ...args]);
  const cases = [];
  const check = (name, ...work) => cases.push(t.test(name, ...work));
  const told = ({ code, text }, expected, ...patterns) => {
    assert.equal(code, expected, text);
    for (const pattern of patterns) assert.match(text, pattern);
  };

  check('a configuration that is wrong: file, line, way out; exit code 2', async () => {
    told(await serve(join(dir, 'absent.yaml')), 2, /absent\.yaml: cannot be opened: No such file/);
    told(await serve(dir), 2, /cannot be read: Is a directory/);
    told(await serve(file('broken.yaml', 'client: [\n')), 2, /broken\.yaml:\d+: this is not YAML/);
    told(await serve(file('near.yaml', 'client:\n  token:\n    hmac_secret_kye: x\n')), 2, /near\.yaml:3: client\.token\.hmac_secret_kye/, /hmac_secret_key/);
    told(await serve(file('value.yaml', 'client:\n  ping_interval: fast\n')), 2, /value\.yaml:2: client\.ping_interval/);
    told(await serve(file('pair.yaml', 'client:\n  ping_interval: 1s\n  pong_timeout: 1s\n')), 2, /pong_timeout: wants to be shorter than client\.ping_interval/);
    told(await serve(good, '--prot', '1'), 2, /--prot/, /--port/);
    told(await serve(good, '--shards', '65'), 2, /shards/);
  });

  check('a port that is taken', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((done) => server.once('listening', done));
    const { port } = server.address();
    for (const shards of ['1', '3'])
      told(await run(BINARY, ['serve', '--config', good, '--port', String(port), '--data', join(dir, `port${shards}`), '--shards', shards]),
        1, new RegExp(`cannot listen address=127\\.0\\.0\\.1 port=${port}`), /Address already in use/, /--port/);
    server.close();
  });

  check('a port that another gateway has, however many shards it runs', async () => {
    const first = new Gateway({ shards: 3, config: { storage: { engine: 'memory' } } });
    t.after(() => first.end());
    await first.start();
    for (const shards of ['1', '2'])
      told(await run(BINARY, ['serve', '--config', good, '--port', String(first.port), '--data', join(dir, `second${shards}`), '--shards', shards]),
        1, /cannot listen/, /Address already in use/);
    assert.deepEqual(await first.stop(), { code: 0, signal: null });
  });

  check('an address that is none, or not ours', async () => {
    const at = (address) => serve(file(`${address}.yaml`, `http_server:\n  address: ${address}\n`), '--data', join(dir, address));
    told(await at('nowhere'), 2, /nowhere\.yaml/, /http_server\.address: wants a number such as 127\.0\.0\.1/, /or localhost/);
    told(await at('192.0.2.1'), 1, /cannot listen address=192\.0\.2\.1/, /check http_server\.address/);
  });

  check('a JSON file of Centrifugo: what does nothing here is a warning, once by name', async () => {
    const config = (spaces, level = 'TRACE') => JSON.stringify({
      http_server: { address: 'localhost' },
      client: { token: { hmac_secret_key: '0123456789abcdef0123456789abcdef' },
        subscription_token: { insecure_skip_jwks_endpoint_safety_check: true } },
      log: { level }, storage: { engine: 'memory' },
      channel: { namespace_boundary: '.', namespaces: spaces } });
    const idle = ['allow_recovery', 'allow_positioning', 'force_positioning'];
    const life = await serve(file('centrifugo.json', config([{ name: 'live', ...Object.fromEntries(idle.map((name) => [name, true])) }])));
    told(life, 0, /info listening address=localhost port=\d+/, / ready /);
    for (const warning of [...idle.map((name) => `channel.namespaces[live]: ${name} does nothing without history`),
      'log.level: trace is debug here', 'client.subscription_token.insecure_skip_jwks_endpoint_safety_check: known option'])
      assert.equal(life.text.split(warning).length, 2, `${warning}\n${life.text}`);
    told(await run(BINARY, ['check-config', '--config', file('loud.json', config([], 'Error'))]), 0, /loud\.json: fine/);
    told(await serve(file('forced.json', config([{ name: 'live', force_recovery: true }]))), 2,
      /forced\.json: channel\.namespaces\[live\]: force_recovery needs history; set history_size and history_ttl/);
  });

  check('another boundary of namespaces, on localhost', async () => {
    const gateway = new Gateway({ shards: 2, config: { http_server: { address: 'localhost' }, storage: { engine: 'memory' },
      channel: { namespace_boundary: '.', namespaces: [{ name: 'live' }] } } });
    t.after(() => gateway.end());
    await gateway.start();
    const published = async (channel) => (await gateway.api('publish', { channel, data: 1 })).error?.code ?? 0;
    assert.equal(await published('live.a'), 0);
    assert.equal(await published('$live.a.b:c'), 0);
    assert.equal(await published('gone.a'), 102);
    assert.equal(await published('gone:a'), 0, 'a name without a namespace');
    assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
  });

  check('a data directory that another gateway has', async () => {
    const first = new Gateway({ shards: 1 });
    t.after(() => first.end());
    await first.start();
    told(await serve(good, '--data', join(first.dir, 'data')), 1, /in use by another process/, /storage\.path/, /data/);
    assert.deepEqual(await first.stop(), { code: 0, signal: null });
  });

  check('a data directory that cannot be', async () => {
    told(await serve(good, '--data', file('occupied', 'x')), 1, /data directory/, /occupied/, /--data/);
    told(await serve(good, '--data', '/proc/no/such'), 1, /data directory/, /\/proc\/no\/such/, /--data/);
  });

  check('an index that is gone: the ways out, and the last of them', async () => {
    const data = join(dir, 'indexless');
    told(await serve(good, '--data', data), 0, / ready /);
    rmSync(join(data, 'index.db'));
    told(await serve(good, '--data', data), 1, /index is missing, or empty/, /put it back/, /from a backup/, /empty file accept-loss/, /file=\S+indexless\/index\.db/);
    writeFileSync(join(data, 'accept-loss'), '');
    told(await serve(good, '--data', data), 0, /warn loss is accepted by accept-loss/, / ready /);
  });

  check('a file of keys that others may read', async () => {
    const keys = file('keys', `${'ab'.repeat(32)}\n`);
    const sealed = file('sealed.yaml', `storage:\n  key_file: ${keys}\n`);
    for (const mode of [0o644, 0o640, 0o602]) {
      chmodSync(keys, mode);
      told(await serve(sealed, '--data', join(dir, 'sealed')), 0,
        new RegExp(`warn storage\\.key_file may be read or written by others than its owner.*chmod 600.*file=${keys} mode=0${mode.toString(8)}`), / ready /);
    }
    chmodSync(keys, 0o600);
    const life = await serve(sealed, '--data', join(dir, 'sealed'));
    told(life, 0, / ready /);
    assert.doesNotMatch(life.text, /by others/);
  });

  check('a Redis that is not there', async () => {
    const config = file('redis.yaml', 'storage:\n  engine: redis\nredis:\n  address: redis://127.0.0.1:1\n');
    told(await serve(config), 1, /redis/, /127\.0\.0\.1:1\b/, /Connection refused/, /redis\.address/);
    const noname = file('noname.yaml', 'storage:\n  engine: redis\nredis:\n  address: redis://no-such-host.invalid:6379\n');
    told(await serve(noname), 1, /redis/, /no-such-host\.invalid/, /redis\.address/);
  });

  check('a Redis with TLS where none is asked for, without where it is, and one that says nothing', async () => {
    const { cert, key } = certificate(dir, 'redis');
    const listening = async (server) => {
      await new Promise((done) => server.listen(0, '127.0.0.1', done));
      t.after(() => server.close());
      return server.address().port;
    };
    const answers = (text) => createServer((socket) => socket.on('error', () => {}).on('data', () => text && socket.write(text)));
    const asked = (port, tls) => {
      const config = file(`wire${port}${tls}.yaml`, `storage:\n  engine: redis\nredis:\n  address: redis://127.0.0.1:${port}\n  connect_timeout: 3s\n  tls:\n    enabled: ${tls}\n`);
      return serve(config);
    };
    const secure = await listening(createSecureServer({ cert: readFileSync(cert), key: readFileSync(key) }).on('tlsClientError', () => {}));
    const plain = await listening(answers("-ERR unknown command\r\n")), mute = await listening(answers(''));
    const shut = await listening(createServer((socket) => socket.on('error', () => {}).on('data', () => socket.destroy())));
    const mistakes = [
      [secure, false, /speaks TLS; set redis\.tls\.enabled to true|closes the connection at the first word; if that is a port for TLS, set redis\.tls\.enabled to true/],
      [plain, true, /speaks no TLS; set redis\.tls\.enabled to false/],
      [mute, true, /answers no TLS: it hangs, or that is a port without TLS; see redis\.tls\.enabled/],
      [mute, false, /answers nothing, though the connection stands: it hangs/],
      [shut, true, /closes the connection at the first word of TLS; if that is a port without TLS, set redis\.tls\.enabled to false/],
      [shut, false, /closes the connection at the first word; if that is a port for TLS/],
    ];
    await Promise.all(mistakes.map(async ([port, tls, pattern]) => told(await asked(port, tls), 1, new RegExp(`error .*the server at 127\\.0\\.0\\.1:${port} `), pattern)));
  });

  check('an ordinary user with the usual limits runs it', { skip: process.getuid() !== 0 && 'only root can become somebody else' }, async () => {
    const binary = join(dir, 'sluice');
    copyFileSync(BINARY, binary);
    chmodSync(binary, 0o755);
    const home = join(dir, 'home');
    mkdirSync(home);
    chownSync(home, NOBODY, NOBODY);
    const serveAs = (data) => run('prlimit', ['--memlock=8388608:8388608', '--nofile=1024:4096', binary, 'serve', '--config', good,
      '--port', '0', '--shards', '4', '--data', data], { uid: NOBODY, gid: NOBODY });
    const life = await serveAs(join(home, 'data'));
    // What an operator reads of a whole life, in this order.
    told(life, 0, /info starting version=\S+ pid=\d+ config=\S+good\.yaml namespaces=0[^]*info store is open [^]*info listening [^]*info ready [^]*info asked to end signal=SIGTERM[^]*info shard=0 draining [^]*info ended/);
    assert.equal(life.text.match(/bounded by the descriptor limit/g).length, 1, 'said once, not by each shard');
    const closed = join(dir, 'closed');
    mkdirSync(closed, { mode: 0o755 });
    told(await serveAs(join(closed, 'data')), 1, /data directory/, /Permission denied/, /closed/);
    told(await serveAs(closed), 1, /data directory/, /Permission denied/, /closed/);
  });

  await Promise.all(cases);
});
