// TLS on the gateway's port: clients, versions, tickets, handshakes in a crowd and at
// their limits, records in any pieces, slow readers, the wrong protocol.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { connect as connectTcp, createServer } from 'node:net';
import test from 'node:test';
import { connect as connectTls } from 'node:tls';
import WebSocket from 'ws';
import { certificate } from './certificates.mjs';
import { connect, offsets, range, subscribe } from './client.mjs';
import { Gateway, SECRET, sleep, token, until } from './gateway.mjs';
import { frame, framesOf, openAs, talk } from './peer.mjs';
import * as played from './script.mjs';

/** A gateway whose port speaks TLS; `http` goes into http_server, `more` into its tls. */
async function secured(t, { kind = 'ecdsa', shards = 2, config = {}, http = {}, ...more } = {}) {
  const gateway = new Gateway({ shards });
  t.after(() => gateway.end());
  const { cert, key, ca } = certificate(gateway.dir, kind, kind);
  gateway.options.ca = ca;
  gateway.options.config = { ...config,
    http_server: { address: '127.0.0.1', ...http, tls: { enabled: true, cert_pem: cert, key_pem: key, ...more } } };
  await gateway.start();
  return gateway;
}

/** A TLS connection of options; resolves when its handshake ended, with `error` set when badly. */
function tls(gateway, options = {}) {
  return new Promise((done) => {
    const socket = connectTls({ port: gateway.port, host: '127.0.0.1', ca: gateway.options.ca, ...options });
    const peer = { socket, error: null, received: Buffer.alloc(0), isEnded: false, tickets: [] };
    socket.on('session', (session) => peer.tickets.push(session));
    socket.on('data', (bytes) => { peer.received = Buffer.concat([peer.received, bytes]); });
    socket.on('end', () => { peer.isEnded = true; });
    socket.on('close', () => { peer.isClosed = true; done(peer); });
    socket.on('error', (error) => { peer.error ??= error; done(peer); });
    socket.once('secureConnect', () => done(peer));
  });
}

function get(gateway, path) {
  return new Promise((done, fail) => {
    request(`${gateway.http}${path}`, { ca: gateway.options.ca, agent: false }, (response) => {
      let text = '';
      response.on('data', (bytes) => { text += bytes; });
      response.on('end', () => done({ status: response.statusCode, text }));
    }).on('error', fail).end();
  });
}

async function metrics(gateway) {
  const { text } = await get(gateway, '/metrics');
  return (name) => Number(new RegExp(`^sluice_tls_${name} (\\d+)$`, 'm').exec(text)[1]);
}
const counts = (gateway, name, value) =>
  until(async () => (await metrics(gateway))(name) >= value, `${name} is ${value}`);

/** The SDK's socket with TLS options. */
const socketWith = (options) => class extends WebSocket {
  constructor(url, protocols) { super(url, protocols, options); }
};

test('the SDK over wss: ECDSA and RSA, TLS 1.2 and 1.3', async (t) => {
  for (const kind of ['ecdsa', 'rsa']) {
    const gateway = await secured(t, { kind });
    for (const version of ['TLSv1.2', 'TLSv1.3']) {
      const channel = `chat:${kind}${version}`;
      const websocket = socketWith({ ca: gateway.options.ca, minVersion: version, maxVersion: version });
      const [a, b] = [await connect(gateway, 'a', { websocket }), await connect(gateway, 'b', { websocket })];
      const feed = await subscribe(a, channel);
      for (let i = 1; i <= 20; i++) await b.centrifuge.publish(channel, { text: 'x'.repeat(i * 1000) });
      await gateway.ask('publish', { channel, data: 'by the API' });
      await until(() => feed.publications.length === 21, 'all arrived');
      assert.deepEqual(offsets(feed.publications), range(1, 21));
      assert.ok(gateway.log.includes(`version=${version}`));
      const late = await subscribe(b, channel, { since: { offset: 0, epoch: feed.subscribed[0].streamPosition.epoch } });
      await until(() => late.publications.length === 21, '210 KB were recovered in one answer');
      for (const client of [a, b]) client.centrifuge.disconnect();
    }
    assert.equal((await get(gateway, '/health')).status, 200);
    assert.match((await get(gateway, '/metrics')).text, /sluice_tls_handshakes_total \d/);
    assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
  }
});

test('python3-websockets over wss', async (t) => {
  const gateway = await secured(t, { config: { channel: played.channel, storage: { engine: 'memory' },
    client: { ...played.client, token: { hmac_secret_key: SECRET } } } });
  const script = new URL('./python_client.py', import.meta.url).pathname;
  const claims = { sub: 'py', exp: Math.floor(Date.now() / 1000) + 600 };
  const stdout = await new Promise((done, fail) => {
    execFile('/usr/bin/python3', [script, gateway.url, 'json', token(claims), token({ ...claims, channel: 'shut:py' })],
      { env: { ...process.env, SSL_CERT_FILE: gateway.options.config.http_server.tls.cert_pem } },
      (error, text) => (error ? fail(error) : done(text)));
  });
  assert.equal(stdout.trim(), 'ok');
});

test('what is not offered is refused with an alert', async (t) => {
  const gateway = await secured(t);
  const refused = async (options, alert) => {
    const { error } = await tls(gateway, options);
    assert.match(String(error?.message), alert, JSON.stringify(options));
  };
  const weak = { ciphers: 'ALL:@SECLEVEL=0' };
  await refused({ ...weak, minVersion: 'TLSv1', maxVersion: 'TLSv1' }, /alert protocol version/);
  await refused({ ...weak, minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1' }, /alert protocol version/);
  await refused({ maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256' }, /alert handshake failure/);
  await refused({ maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256' }, /alert handshake failure/);
  await refused({ ALPNProtocols: ['h2'] }, /alert no application protocol/);
  const { socket } = await tls(gateway, { ALPNProtocols: ['h2', 'http/1.1'] });
  assert.equal(socket.alpnProtocol, 'http/1.1');
  socket.destroy();
  await counts(gateway, 'handshakes_failed_total', 5);
});

test('a ticket opens on every shard', async (t) => {
  const gateway = await secured(t, { shards: 4 });
  for (const version of ['TLSv1.2', 'TLSv1.3']) {
    const options = { minVersion: version, maxVersion: version };
    const first = await tls(gateway, options);
    await until(() => first.tickets.length > 0, 'a ticket came');
    assert.equal(first.socket.isSessionReused(), false);
    first.socket.destroy();
    const shards = new Set();
    for (let i = 0; i < 64 && (i < 8 || shards.size < 4); i++) {
      const { length } = gateway.log;
      const next = await tls(gateway, { ...options, session: first.tickets[0] });
      assert.equal(next.socket.isSessionReused(), true);
      const line = await until(() => /shard=(\d) tls session .*resumed=1/.exec(gateway.log.slice(length)), 'it is logged');
      shards.add(line[1]);
      next.socket.destroy();
    }
    assert.equal(shards.size, 4);
  }
  await counts(gateway, 'handshakes_resumed_total', 16);
});

test('somebody speaks HTTP to the port of TLS, and TLS to the other', async (t) => {
  const gateway = await secured(t);
  const { text } = await talk(gateway, 'GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.match(text, /^HTTP\/1\.1 400 .*this port speaks TLS: use https:\/\/ or wss:\/\/\n$/s);
  const slow = await talk(gateway, ['P', 'OST /api/publish HTTP/1.1\r\n'], { gap: 20 });
  assert.match(slow.text, /^HTTP\/1\.1 400 /);
  const noise = await talk(gateway, '\x00\x01\x02\x03');
  assert.deepEqual([noise.text, noise.isTimeout], ['', false]);
  await counts(gateway, 'plain_requests_total', 2);

  const plain = new Gateway({ shards: 1 });
  t.after(() => plain.end());
  await plain.start();
  const { error } = await tls(plain, { ca: gateway.options.ca });
  assert.match(String(error?.message), /wrong version number/); // an answer of HTTP, and the end
  assert.equal((await plain.ask('info', {})).nodes.length, 1);
});

/** A relay to `gateway` that cuts what passes into pieces of `size` bytes. */
async function cutter(t, gateway, size) {
  const cut = (from, to) => from.on('data', (bytes) => {
    for (let at = 0; at < bytes.length; at += size) to.write(bytes.subarray(at, at + size));
  }).on('end', () => to.end()).on('error', () => to.destroy());
  const server = createServer((client) => {
    const far = connectTcp({ port: gateway.port, host: '127.0.0.1', noDelay: true });
    cut(client, far);
    cut(far, client);
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  return { ...gateway, url: gateway.url.replace(/:\d+/, `:${server.address().port}`) };
}

test('records may come in any pieces, and pieces of records in any number', async (t) => {
  const gateway = await secured(t);
  const feed = await subscribe(await connect(gateway, 'a', { websocket: socketWith({ ca: gateway.options.ca }) }), 'chat:cut');
  for (const size of [1, 3, 7]) {
    const via = await cutter(t, gateway, size);
    const peer = await openAs(via, 'cut', { ca: gateway.options.ca });
    peer.send({ id: 2, publish: { channel: 'chat:cut', data: `${size}`.repeat(300) } });
    assert.ok((await peer.reply(2)).publish);
    peer.socket.close();
    await peer.end();
  }
  const { socket } = await tls(gateway); // a record for each byte
  let text = '';
  socket.on('data', (bytes) => { text += bytes; });
  for (const byte of 'GET /health/simple HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n') socket.write(byte);
  await once(socket, 'end');
  assert.match(text, /^HTTP\/1\.1 200 /);
  await until(() => feed.publications.length === 3, 'all arrived');
  feed.subscription._centrifuge.disconnect();
});

test('both sides end with close_notify; a socket that just ends is counted', async (t) => {
  const gateway = await secured(t);
  // s_client tells an end without close_notify as "unexpected eof".
  const ask = (lines) => new Promise((done) => {
    const child = execFile('openssl', ['s_client', '-connect', `127.0.0.1:${gateway.port}`, '-quiet'],
      (error, out, err) => done(out + err));
    child.stdin.write(lines);
  });
  const said = await ask('GET /health/simple HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  assert.match(said, /200 OK/);
  assert.doesNotMatch(said, /unexpected eof/);
  const broken = await ask('NONSENSE\r\n\r\n');
  assert.match(broken, /400 Bad Request/);
  assert.doesNotMatch(broken, /unexpected eof/);

  // Their close_notify behind a request: the answer still comes.
  const half = await tls(gateway, { allowHalfOpen: true });
  half.socket.end('GET /health/simple HTTP/1.1\r\nHost: x\r\n\r\n');
  await until(() => half.isEnded, 'the gateway ended too');
  assert.match(String(half.received), /^HTTP\/1\.1 200 /);

  const before = (await metrics(gateway))('truncated_total');
  const peer = await openAs(gateway, 'cut', { ca: gateway.options.ca });
  peer.socket.terminate();
  await counts(gateway, 'truncated_total', before + 1);
});

test('who comes while a client holds the drain up shakes hands and is answered 503', async (t) => {
  const gateway = await secured(t, { config: { shutdown: { timeout: '3s' } } });
  const { socket: mute } = await tls(gateway); // it does not answer the close frame
  mute.write('GET /connection/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n');
  await once(mute, 'data');
  mute.on('error', () => {});
  gateway.child.kill('SIGTERM');
  await until(() => /draining/.test(gateway.log), 'it drains');
  await sleep(300);
  for (const path of ['/health', '/health/simple']) assert.equal((await get(gateway, path)).status, 503);
  mute.destroy();
  assert.deepEqual(await gateway.exited, { code: 0, signal: null });
});

test('a slow reader over TLS gets 3008 at its limit and no broken frame', async (t) => {
  const LIMIT = 256 << 10;
  const gateway = await secured(t, { config: {
    client: { token: { hmac_secret_key: SECRET }, allowed_origins: ['*'], queue_max_size: LIMIT, ping_interval: '1h' } } });
  const { socket } = await tls(gateway);
  let received = Buffer.alloc(0);
  socket.on('data', (bytes) => { received = Buffer.concat([received, bytes]); });
  socket.write('GET /connection/websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n');
  const send = (command) => socket.write(frame(JSON.stringify(command)));
  send({ id: 1, connect: { token: token({ sub: 'slow' }) } });
  send({ id: 2, subscribe: { channel: 'chat:slow' } });
  await until(() => received.includes('"id":2'), 'it is subscribed');
  received = received.subarray(received.indexOf('\r\n\r\n') + 4);
  socket.pause();
  let sent = 0;
  const data = 'y'.repeat(60000);
  for (; !/client gone .*reason=slow/.test(gateway.log) && sent < 400; sent++)
    await gateway.ask('publish', { channel: 'chat:slow', data });
  assert.ok(sent < 400, 'the reader was ended');
  socket.resume();
  await until(() => socket.readableEnded || socket.destroyed, 'the gateway ended it');
  const frames = framesOf(received);
  const last = frames.at(-1);
  assert.equal(last.opcode, 8);
  assert.equal(last.payload.readUInt16BE(0), 3008);
  const pushes = frames.slice(0, -1).map(({ payload }) => JSON.parse(payload)).filter((m) => m.push);
  assert.deepEqual(pushes.map((m) => m.push.pub.offset), range(1, pushes.length));
});

test('a slow handshake is closed in time, a full queue and an address refuse', async (t) => {
  await t.test('deadline', async () => {
    const gateway = await secured(t, { handshake_timeout: '3s', http: { header_timeout: '1m' } });
    await Promise.all(['', '\x16', '\x16\x03\x01\x02\x00\x01\x00'].map(async (start) => {
      const { isTimeout, text } = await talk(gateway, start);
      assert.deepEqual([isTimeout, text], [false, '']);
    }));
    await counts(gateway, 'handshakes_late_total', 3);
    const { error, socket } = await tls(gateway); // who has shaken hands may take longer
    assert.equal(error, null);
    await sleep(3500);
    socket.write('GET /health/simple HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(socket, 'data');
    socket.destroy();
    await until(async () => (await metrics(gateway))('handshakes_under_way') === 0, 'none is under way any more');
  });

  await t.test('handshakes_per_address: at the limit, above, and below again', async () => {
    const gateway = await secured(t, { shards: 1, handshake_timeout: '1m', handshakes_per_address: 4 });
    const idle = [];
    const knock = async () => {
      const socket = connectTcp(gateway.port, '127.0.0.1');
      const peer = { socket, isClosed: false };
      socket.on('close', () => { peer.isClosed = true; });
      socket.on('error', () => {});
      socket.resume();
      await once(socket, 'connect');
      return peer;
    };
    for (let i = 0; i < 4; i++) idle.push(await knock());
    const fifth = await knock();
    await until(() => fifth.isClosed, 'the fifth was closed');
    assert.deepEqual(idle.map((peer) => peer.isClosed), [false, false, false, false]);
    idle[0].socket.destroy();
    await until(async () => (await tls(gateway)).error === null, 'there is room for one again');
    for (const peer of idle) peer.socket.destroy();
    await until(async () => (await tls(gateway)).error === null, 'and still');
    await counts(gateway, 'handshakes_limited_total', 1);
  });

  await t.test('handshake_queue', async () => {
    const gateway = await secured(t, { shards: 1, handshake_timeout: '1m', handshake_queue: 1, kind: 'rsa' });
    const peers = await Promise.all(Array.from({ length: 200 }, () => tls(gateway, { rejectUnauthorized: false })));
    const good = peers.filter((peer) => peer.error === null).length;
    for (const peer of peers) peer.socket.destroy();
    assert.ok(good > 0);
    await until(async () => (await tls(gateway)).error === null, 'there is room again');
    const metric = await until(() => metrics(gateway).catch(() => null), 'the metrics are told');
    assert.ok(metric('handshakes_refused_total') >= 200 - good);
  });
});

test('1,000 handshakes at once, and a live client goes on', async (t) => {
  const gateway = await secured(t, { handshake_timeout: '1m', config: { log: { level: 'info' },
    client: { token: { hmac_secret_key: SECRET }, ping_interval: '1h' } } });
  const live = await openAs(gateway, 'live', { ca: gateway.options.ca, onMessage: () => {} });
  const replies = new Map();
  live.socket.on('message', (bytes) => {
    for (const line of String(bytes).split('\n')) { const { id, error } = JSON.parse(line); if (id) replies.set(id, error); }
  });
  let id = 1, isOver = false;
  const talking = (async () => {
    while (!isOver) {
      live.send({ id: ++id, publish: { channel: 'chat:live', data: id } });
      await until(() => replies.has(id), `reply ${id}`);
    }
  })();
  const options = { rejectUnauthorized: false };
  const peers = await Promise.all(Array.from({ length: 1000 }, () => tls(gateway, options)));
  isOver = true;
  await talking;
  assert.equal(peers.filter((peer) => peer.error !== null).length, 0);
  assert.ok(id > 2);
  assert.equal([...replies.values()].filter(Boolean).length, 0);
  const metric = await metrics(gateway);
  assert.ok(metric('handshakes_total') >= 1001);
  for (const name of ['failed_total', 'late_total', 'refused_total']) assert.equal(metric(`handshakes_${name}`), 0);
  for (const peer of peers) peer.socket.destroy();
  live.socket.terminate();
});

test('SIGHUP takes a new certificate, keeps connections, and refuses a bad one', async (t) => {
  const gateway = await secured(t);
  const live = await openAs(gateway, 'live', { ca: gateway.options.ca });
  const { cert, key } = { cert: gateway.options.config.http_server.tls.cert_pem, key: gateway.options.config.http_server.tls.key_pem };
  const first = await tls(gateway);
  await until(() => first.tickets.length > 0, 'a ticket came');
  const name = async (options = {}) => {
    const { socket } = await tls(gateway, { rejectUnauthorized: false, ...options });
    const { subject } = socket.getPeerCertificate();
    const reused = socket.isSessionReused();
    socket.destroy();
    return [subject.CN, reused];
  };
  const reload = async (line) => {
    const { length } = gateway.log;
    gateway.child.kill('SIGHUP');
    await until(() => line.test(gateway.log.slice(length)), `the log says ${line}`);
  };
  assert.deepEqual(await name(), ['ecdsa', false]);

  // A file without its end: the old certificate serves on.
  const old = readFileSync(cert);
  writeFileSync(cert, old.subarray(0, 300));
  await reload(/http_server\.tls\.cert_pem: .*holds no certificate[^]*nothing was changed/);
  assert.deepEqual(await name(), ['ecdsa', false]);

  const next = certificate(gateway.dir, 'next', 'rsa');
  copyFileSync(next.cert, cert);
  await reload(/is not the key of the certificate[^]*nothing was changed/);
  copyFileSync(next.key, key);
  await reload(/reloaded /);
  assert.deepEqual(await name(), ['next', false]);
  // A ticket of the old one opens nothing: its holder sees the new one.
  assert.deepEqual(await name({ session: first.tickets[0] }), ['next', false]);
  live.send({ id: 2, publish: { channel: 'chat:live', data: 'still here' } });
  assert.ok((await live.reply(2)).publish);
  first.socket.write('GET /health/simple HTTP/1.1\r\nHost: x\r\n\r\n');
  await until(() => String(first.received).startsWith('HTTP/1.1 200'), 'the first connection is served');
  live.socket.terminate();
  first.socket.destroy();
});

test('a wrong pair stops the start and check-config with its sentence', async (t) => {
  const gateway = new Gateway();
  t.after(() => gateway.end());
  const a = certificate(gateway.dir, 'a'), b = certificate(gateway.dir, 'b');
  gateway.options.config = { http_server: { address: '127.0.0.1', tls: { enabled: true, cert_pem: a.cert, key_pem: b.key } } };
  await assert.rejects(gateway.start(), /http_server\.tls\.key_pem: .*b\.key: is not the key of the certificate/);
});
