// The program at a terminal: sub, pub, gen-config, the environment, and what mistakes are told.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { range } from './client.mjs';
import { certificate } from './certificates.mjs';
import { BINARY, Gateway, KEY, SECRET, token, until } from './gateway.mjs';

/** Runs the program; `input` goes to its standard input.  `ended` resolves with the exit code. */
function run(args, { input = '', env = {} } = {}) {
  const surroundings = { ...process.env, ...env };
  delete surroundings.SLUICE_BINARY;
  const child = spawn(BINARY, args, { stdio: ['pipe', 'pipe', 'pipe'], env: surroundings });
  const call = { child, out: '', err: '' };
  child.stdout.on('data', (bytes) => { call.out += bytes; });
  child.stderr.on('data', (bytes) => { call.err += bytes; });
  child.stdin.on('error', () => {}); // it may end without reading
  child.stdin.end(input);
  call.ended = new Promise((done) => child.once('close', (code) => done(code)));
  Object.defineProperty(call, 'lines', { get: () => call.out.split('\n').filter(Boolean).map((line) => JSON.parse(line)) });
  return call;
}

async function answer(args, options) {
  const call = run(args, options);
  const code = await call.ended;
  return { code, out: call.out, err: call.err };
}

test('sub and pub', async (t) => {
  const gateway = new Gateway({ shards: 4 });
  t.after(() => gateway.end());
  await gateway.start();
  const file = join(gateway.dir, 'config.json');
  const at = ['--url', gateway.http];
  const pub = (channel, json, ...more) => answer(['pub', channel, json, '--config', file, ...at, ...more]);

  await t.test('pub prints offsets, one by one and from standard input', async () => {
    assert.deepEqual(await pub('chat:a', '{"text": "hello"}'), { code: 0, out: '1\n', err: '' });
    const many = await answer(['pub', 'chat:a', '-', ...at, '--key', KEY], { input: '"two"\n\n{"n":3}\r\n4' });
    assert.deepEqual(many, { code: 0, out: '2\n3\n4\n', err: '' });
    assert.equal((await pub('live:a', 'null')).out, '0\n');
    const { publications } = await gateway.ask('history', { channel: 'chat:a', limit: -1 });
    assert.deepEqual(publications.map((p) => p.data), [{ text: 'hello' }, 'two', { n: 3 }, 4]);
  });

  await t.test('what cannot be published or printed is no success', async () => {
    const broken = await answer(['pub', 'chat:half', '-', ...at, '--key', KEY], { input: '1\n\n{bad\n3' });
    assert.deepEqual([broken.code, broken.out], [1, '1\n']);
    assert.match(broken.err, /this is not JSON: \{bad.*\n.*stopped at line 3/);
    const code = (...words) => new Promise((done) => spawn('sh', ['-c', `"$0" "$@" > /dev/full`, BINARY, ...words],
      { stdio: 'ignore' }).once('close', done));
    for (const words of [['version'], ['options'], ['gen-config'], ['--help'], ['gen-token', '--config', file, '--user', 'a'],
      ['pub', 'live:a', '1', ...at, '--key', KEY]])
      assert.equal(await code(...words), 1, words[0]);
    const pipe = await new Promise((done) => spawn('bash', ['-c', `set -o pipefail; "$0" options | true`, BINARY],
      { stdio: 'ignore' }).once('close', done));
    assert.ok(pipe === 0 || pipe === 141, 'a reader that ends is no error to speak of');
  });

  await t.test('sub prints what was kept, what comes, and what came while the gateway was gone', async () => {
    const sub = run(['sub', 'chat:a', 'live:a', '--config', file, ...at, '--user', 'ann', '--history', '2'])
    const failing = run(['sub', 'live:a', '--config', file, ...at, '--user', 'ann', '--history', '2']);
    assert.equal(await failing.ended, 1);
    assert.match(failing.err, /history of live:a: not available \(code 108\); its namespace keeps none/);
    assert.equal(await sub.ended, 1); // live:a has no history to print
    const both = run(['sub', 'chat:a', 'live:a', ...at, '--token', token({ sub: 'ann' })]);
    const kept = run(['sub', 'chat:a', '--user', 'ann', '--key', SECRET, ...at, '--history', '2']);
    t.after(() => { both.child.kill(); kept.child.kill(); });
    await until(() => kept.lines.length === 2, 'the history is printed');
    assert.deepEqual(kept.lines, [{ channel: 'chat:a', offset: 3, data: { n: 3 } }, { channel: 'chat:a', offset: 4, data: 4 }]);
    await until(() => [...gateway.log.matchAll(/client connected/g)].length >= 2, 'both are connected');
    await until(async () => {
      await gateway.ask('publish', { channel: 'live:a', data: 'x', tags: { k: 'v' } });
      return both.lines.length > 0;
    }, 'the live one is printed');
    assert.deepEqual(both.lines[0], { channel: 'live:a', data: 'x', tags: { k: 'v' } });
    await until(() => kept.err === '', 'nothing is complained of');

    await gateway.kill();
    await until(() => /(closed the connection|broke|reset)/.test(kept.err), 'the loss is said');
    await gateway.start();
    for (const n of range(5, 8)) await gateway.ask('publish', { channel: 'chat:a', data: n });
    await until(() => kept.lines.length === 6 && both.lines.filter((line) => line.channel === 'chat:a').length === 4,
      'what came meanwhile is printed');
    assert.deepEqual(kept.lines.map((line) => line.offset), range(3, 8));
    assert.match(kept.err, /connected again/);
  });

  await t.test('--recover goes on behind a position', async () => {
    const { epoch } = await gateway.ask('history', { channel: 'chat:a', limit: 0 });
    const sub = run(['sub', 'chat:a', '--config', file, ...at, '--user', 'ben', '--recover', `6/${epoch}`]);
    await until(() => sub.lines.length === 2, 'what followed is printed');
    assert.deepEqual(sub.lines.map((line) => line.offset), [7, 8]);
    sub.child.kill();
    const lost = run(['sub', 'chat:a', '--config', file, ...at, '--user', 'ben', '--recover', '6/elsewhere']);
    await until(() => /chat:a: what came behind offset 6 was missed; on from 8/.test(lost.err), 'a gap is said');
    lost.child.kill();
  });

  await t.test('an ended user is told and does not come back', async () => {
    const sub = run(['sub', 'chat:a', ...at, '--token', 'not.a.token']);
    assert.equal(await sub.ended, 1);
    assert.match(sub.err, /3500\); the token must be signed with a key of client\.token/);
  });

  await t.test('mistakes are told with the way out', async () => {
    const free = await new Promise((done) => {
      const server = createServer().listen(0, '127.0.0.1', () => {
        const { port } = server.address();
        server.close(() => done(port));
      });
    });
    for (const [args, code, pattern] of [
      [['pub', 'chat:a', 'hello', ...at, '--key', KEY], 2, /not JSON: hello; a text wants quotes of its own/],
      [['pub', 'chat:a', '1', ...at, '--key', 'wrong'], 1, /API key is refused; it must be http_api\.key/],
      [['pub', 'chat:a', '1', ...at], 1, /wants a key: give --key or --config/],
      [['pub', 'nowhere:a', '1', ...at, '--key', KEY], 1, /unknown channel \(code 102\); .* channel\.namespaces/],
      [['pub', 'chat:a', '1', '--url', `http://127.0.0.1:${free}`], 1,
        new RegExp(`cannot connect to 127\\.0\\.0\\.1 port ${free}: Connection refused; .*sluice serve`)],
      [['pub', 'chat:a', '1', '--url', 'https://127.0.0.1'], 2, /does not speak TLS/],
      [['pub', 'chat:a', '1', '--url', 'localhost:8000'], 2, /wants http:\/\/host:port or ws:\/\/host:port/],
      [['pub', 'chat:a'], 2, /pub wants CHANNEL JSON; see sluice pub --help/],
      [['pub', 'chat:a', '1', '2'], 2, /pub takes CHANNEL JSON, and not also '2'/],
      [['sub'], 2, /sub wants CHANNEL\.\.\./],
      [['sub', 'chat:a', ...at], 1, /3501\); it wants a token: give --config and --user, or --token/],
      [['sub', 'nowhere:a', ...at, '--user', 'u', '--key', SECRET], 1, /subscribe to nowhere:a: unknown channel \(code 102\)/],
      [['sub', 'closed:a', ...at, '--user', 'u', '--key', SECRET], 1, /subscribe to closed:a: permission denied \(code 103\)/],
      [['sub', 'chat:a', ...at, '--user', 'u'], 2, /--user wants a key to sign with/],
      [['sub', 'chat:a', '--recover', '12'], 2, /--recover wants one channel and a position such as 120\/xyz/],
      [['sub', 'chat:a', '--history', '0'], 2, /--history wants a number from 1/],
      [['sub', 'chat:a', '--url', `ws://127.0.0.1:${gateway.port}/nothing`, '--token', 'x'], 1, /refuses a WebSocket at \/nothing: 404/],
    ]) {
      const said = await answer(args);
      assert.match(said.err, pattern, args.join(' '));
      assert.equal(said.code, code, args.join(' '));
      assert.equal(said.out, '');
      assert.ok(!said.err.includes(SECRET) && !said.err.includes(KEY));
    }
  });
});

test('gen-config, the environment and serve', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-cli-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));

  await t.test('what it prints is fine, and its secrets are fresh', async () => {
    for (const more of [[], ['--full']]) {
      const [first, second] = await Promise.all([answer(['gen-config', ...more]), answer(['gen-config', ...more])]);
      assert.equal(first.code, 0);
      assert.notEqual(first.out, second.out);
      const file = join(dir, `config${more.length}.yaml`);
      writeFileSync(file, first.out);
      assert.deepEqual(await answer(['check-config', '--config', file]), { code: 0, out: `${file}: fine\n`, err: '' });
    }
  });

  await t.test('it serves, and the environment wins over the file and the command line over both', async () => {
    const file = join(dir, 'config0.yaml');
    const serve = run(['serve', '--config', file, '--port', '0', '--shards', '2'], { env: {
      SLUICE_HTTP_SERVER_PORT: '1', SLUICE_STORAGE_PATH: join(dir, 'data'), SLUICE_HTTP_API_KEY: 'from-outside',
      SLUICE_CHANNEL_NAMESPACES: '[{"name": "fresh"}]', SLUICE_HTTP_SEVER_PORT: '2' } });
    t.after(() => serve.child.kill('SIGKILL'));
    await until(() => / ready /.test(serve.err), 'it is ready');
    assert.match(serve.err, /SLUICE_HTTP_SEVER_PORT: names no option; did you mean SLUICE_HTTP_SERVER_PORT\?/);
    const port = /listening .*port=(\d+)/.exec(serve.err)[1];
    const url = ['--url', `http://127.0.0.1:${port}`];
    assert.equal((await answer(['pub', 'fresh:a', '1', '--key', 'from-outside', ...url])).out, '0\n');
    assert.match((await answer(['pub', 'chat:a', '1', '--key', 'from-outside', ...url])).err, /code 102/);
    serve.child.kill('SIGTERM');
    assert.equal(await serve.ended, 0);
  });
});

test('a port that speaks TLS is named as such', async (t) => {
  const gateway = new Gateway({ shards: 1 });
  const { cert, key, ca } = certificate(gateway.dir, 'cli');
  gateway.options.ca = ca;
  gateway.options.config = { http_server: { address: '127.0.0.1', tls: { enabled: true, cert_pem: cert, key_pem: key } } };
  t.after(() => gateway.end());
  await gateway.start();
  for (const words of [['pub', 'chat:a', '1'], ['sub', 'chat:a']]) {
    const refused = await answer([...words, '--url', `http://127.0.0.1:${gateway.port}`, '--key', KEY]);
    assert.equal(refused.code, 1);
    assert.match(refused.err, /port \d+ speaks TLS, and this command does not/);
  }
});
