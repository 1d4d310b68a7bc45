// What breaks the protocol gets its close code and costs nobody else anything.
import assert from 'node:assert/strict';
import { connect as connectTcp } from 'node:net';
import test from 'node:test';
import WebSocket from 'ws';
import { Gateway, token, until } from './gateway.mjs';
import { connect, subscribe } from './client.mjs';

/** A bare WebSocket: notes messages and the close. */
function open(gateway, options = {}) {
  const socket = new WebSocket(gateway.url, options);
  const peer = { socket, messages: [], closed: null };
  socket.on('message', (bytes) => peer.messages.push(...String(bytes).split('\n').map((line) => JSON.parse(line))));
  socket.on('close', (code, reason) => { peer.closed = { code, reason: String(reason) }; });
  socket.on('error', (error) => { peer.error = error; });
  peer.ready = new Promise((done) => { socket.once('open', done); socket.once('error', done); });
  return peer;
}

async function closeOf(gateway, ...frames) {
  const peer = open(gateway);
  await peer.ready;
  for (const frame of frames) peer.socket.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame));
  await until(() => peer.closed, 'the gateway closed');
  return { ...peer.closed, messages: peer.messages };
}

test('codes', async (t) => {
  const gateway = new Gateway({ shards: 2, config: { log: { level: 'info' } } });
  t.after(() => gateway.end());
  await gateway.start();
  const witness = await connect(gateway, 'witness');
  const feed = await subscribe(witness, 'chat:witness');
  t.after(() => witness.centrifuge.disconnect());
  const good = { id: 1, connect: { token: token({ sub: 'u' }) } };
  const now = Math.floor(Date.now() / 1000);

  const cases = [
    ['a first command that is not connect', 3501, { id: 1, subscribe: { channel: 'chat:a' } }],
    ['an empty frame', 3501, ''],
    ['a blank line between commands', 3501, `${JSON.stringify(good)}\n\n{}`],
    ['no JSON', 3501, 'hello'],
    ['a truncated command', 3501, '{"id":1,"connect":{'],
    ['an id that is no uint32', 3501, '{"id":4294967296,"connect":{}}'],
    ['a command without an id', 3501, { connect: { token: token({ sub: 'u' }) } }],
    ['a second connect', 3501, good, { id: 2, connect: {} }],
    ['a pong that nobody asked for', 3501, good, '{}'],
    ['no credentials', 3501, { id: 1, connect: {} }],
    ['a token with another key', 3500, { id: 1, connect: { token: token({ sub: 'u' }, 'other') } }],
    ['a token with alg none', 3500, { id: 1, connect: { token: token({ sub: 'u' }, '', { alg: 'none' }) } }],
    ['a subscription token to connect', 3500, { id: 1, connect: { token: token({ sub: 'u', channel: 'chat:a' }) } }],
    ['send, which nothing takes', 3508, good, { send: { data: 1 } }],
    ['an empty channel', 3501, good, { id: 2, subscribe: { channel: '' } }],
    ['invalid UTF-8 in a text frame', 1007, Buffer.from([0xff])],
    ['a message above the size limit', 1009, 'x'.repeat(65537)],
  ];
  for (const [name, code, ...frames] of cases)
    await t.test(`${name} → ${code}`, async () => {
      if (code === 1007) {
        const peer = open(gateway);
        await peer.ready;
        peer.socket.send(frames[0], { binary: false });
        await until(() => peer.closed, 'the gateway closed');
        assert.equal(peer.closed.code, code);
        return;
      }
      assert.equal((await closeOf(gateway, ...frames)).code, code);
    });

  await t.test('an expired token is error 109, then any command 3501', async () => {
    const { code, messages } = await closeOf(gateway,
      { id: 1, connect: { token: token({ sub: 'u', exp: now - 10 }) } }, { id: 2, subscribe: { channel: 'chat:a' } });
    assert.equal(code, 3501);
    assert.equal(messages[0].error.code, 109);
  });

  await t.test('connect and subscribe in one frame; a second subscribe is 105', async () => {
    const peer = open(gateway);
    await peer.ready;
    peer.socket.send([good, { id: 2, subscribe: { channel: 'chat:a' } }, { id: 3, subscribe: { channel: 'chat:a' } },
      { id: 4, subscribe: { channel: 'x'.repeat(256) } }, { id: 5, ping: {} }].map((c) => JSON.stringify(c)).join('\n'));
    await until(() => peer.messages.length >= 5, 'all were answered');
    const byId = Object.fromEntries(peer.messages.map((message) => [message.id, message]));
    assert.equal(byId[1].connect.pong, true);
    assert.equal(byId[1].connect.ping, 25);
    assert.match(byId[1].connect.client, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.equal(byId[2].subscribe.recoverable, true);
    assert.equal(byId[3].error.code, 105);
    assert.equal(byId[4].error.code, 107);
    assert.equal(byId[5].error.code, 108);
    peer.socket.close(4000);
    await until(() => peer.closed, 'closed');
    assert.equal(peer.closed.code, 4000);
  });

  await t.test('the channel limit: 128 are fine, one more is 106', async () => {
    const peer = open(gateway);
    await peer.ready;
    const commands = [good];
    for (let i = 0; i <= 128; i++) commands.push({ id: i + 2, subscribe: { channel: `chat:limit${i}` } });
    peer.socket.send(commands.map((c) => JSON.stringify(c)).join('\n'));
    await until(() => peer.messages.length === 130, 'all were answered');
    const errors = peer.messages.filter((message) => message.error);
    assert.deepEqual(errors.map((message) => [message.id, message.error.code]), [[130, 106]]);
    peer.socket.terminate();
  });

  await t.test('an Origin that is not allowed is 403; Host is', async () => {
    const strict = new Gateway({ config: { client: { allowed_origins: ['https://*.example.com'] } } });
    t.after(() => strict.end());
    await strict.start({ shards: 1 });
    const status = (origin) => new Promise((done) => {
      const socket = new WebSocket(strict.url, { origin });
      socket.on('unexpected-response', (_, response) => { done(response.statusCode); socket.terminate(); });
      socket.on('error', () => {});
      socket.on('open', () => { done(101); socket.close(); });
    });
    assert.equal(await status('https://evil.test'), 403);
    assert.equal(await status('https://app.example.com'), 101);
    assert.equal(await status(`http://127.0.0.1:${strict.port}`), 101);
  });

  await t.test('HTTP that smuggles is refused', async () => {
    const status = (text) => new Promise((done) => {
      const socket = connectTcp(gateway.port, '127.0.0.1', () => socket.write(text));
      let got = '';
      socket.on('data', (bytes) => { got += bytes; });
      socket.on('close', () => done(Number(got.split(' ')[1])));
      socket.on('error', () => done(0));
    });
    const head = 'POST /api/info HTTP/1.1\r\nHost: a\r\n';
    assert.equal(await status('GET / HTTP/1.1\nHost: a\n\n'), 400);
    assert.equal(await status('GET / HTTP/1.1\r\n\r\n'), 400);
    assert.equal(await status('GET / HTTP/1.1\r\nHost : a\r\n\r\n'), 400);
    assert.equal(await status('GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'), 400);
    assert.equal(await status(`${head}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`), 400);
    assert.equal(await status(`${head}Content-Length: +1\r\n\r\n`), 400);
    assert.equal(await status(`${head}Transfer-Encoding: gzip, chunked\r\n\r\n`), 501);
    assert.equal(await status(`GET / HTTP/1.1\r\nHost: a\r\nX: ${'y'.repeat(20000)}\r\n\r\n`), 431);
  });

  await t.test('the witness noticed nothing', async () => {
    await witness.centrifuge.publish('chat:witness', 'still here');
    await until(() => feed.publications.length === 1, 'it arrived');
    assert.equal(witness.connects, 1);
    assert.deepEqual(witness.errors, []);
  });
});
