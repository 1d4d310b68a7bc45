// Peers that want to hurt: what they make the gateway keep is bounded by named limits,
// and somebody else's clients do not notice.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { connect as connectTcp } from 'node:net';
import test from 'node:test';
import { connect, offsets, range, subscribe } from './client.mjs';
import { Gateway, KEY, SECRET, token, until } from './gateway.mjs';
import { frame, openAs, openRaw, talk } from './peer.mjs';

const MIB = 1 << 20;

/** One shard, so that everybody is everybody's neighbour; and a client who only wants to chat. */
async function begin(t, client = {}) {
  const gateway = new Gateway({ shards: 1, config: { storage: { engine: 'memory' },
    client: { token: { hmac_secret_key: SECRET }, insecure: true, ...client } } });
  t.after(() => gateway.end());
  await gateway.start();
  const neighbour = await connect(gateway, 'neighbour');
  t.after(() => neighbour.centrifuge.disconnect());
  const feed = await subscribe(neighbour, 'chat:neighbour');
  const notices = async () => {
    for (const n of range(1, 5)) await gateway.ask('publish', { channel: 'chat:neighbour', data: n });
    await until(() => feed.publications.length === 5, 'the neighbour receives');
    assert.deepEqual(offsets(feed.publications), range(1, 5));
    assert.equal(neighbour.connects, 1);
    neighbour.centrifuge.disconnect();
    assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
  };
  return { gateway, notices };
}

/** `count` of mute_peers.py, once they have done it. */
async function mute(t, gateway, count, mode) {
  const peers = spawn('/usr/bin/python3', [new URL('mute_peers.py', import.meta.url).pathname, String(gateway.port),
    String(count), mode], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => peers.kill());
  let said = '';
  peers.stdout.on('data', (bytes) => { said += bytes; });
  await until(() => /done/.test(said), 'they have done it');
  return peers;
}

const grown = (gateway, before) => (gateway.isMeasurable ? gateway.memory() - before : 0);

test('pings whose answers nobody reads', async (t) => {
  const { gateway, notices } = await begin(t, { stale_close_delay: '1m' });
  const before = gateway.memory();
  const peers = await mute(t, gateway, 6, 'pings');
  const more = grown(gateway, before);
  // 3 million bytes of pongs in 6 queues: a buffer each would be 800 MiB.
  assert.ok(more < 48 * MIB, `${more / MIB} MiB more`);
  peers.kill();
  await until(async () => (await gateway.metric('connections')) <= 3, 'nothing is left');
  await notices();
});

test('slow readers, each of a channel of its own: others publish on', async (t) => {
  const { gateway, notices } = await begin(t, { queue_max_age: '1h', ping_interval: '1h' });
  const count = 100;
  const peers = await mute(t, gateway, count, 'subscribe');
  const channels = range(0, count - 1).map((n) => `live:mute${n}`);
  // 100 MiB wait for them, each within his limit; what one shard may be behind with
  // another is 64 MiB, and nobody here is behind.
  for (const n of range(1, 40)) {
    const { responses } = await gateway.ask('broadcast', { channels, data: 'x'.repeat(32 << 10) + n });
    assert.deepEqual(responses.filter(({ error }) => error), []);
    if ((await gateway.metric('client_slow_disconnects')) > 0) break;
  }
  peers.kill();
  await notices();
});

test('small publications to slow readers cost what they are long', async (t) => {
  const { gateway, notices } = await begin(t, { queue_max_age: '1h', ping_interval: '1h' });
  const count = 20;
  const peers = await mute(t, gateway, count, 'subscribe');
  const before = gateway.memory();
  const broadcast = { channels: range(0, count - 1).map((n) => `live:mute${n}`), data: 'x' };
  // A letter and a buffer for each of 360,000 would be 200 MiB; TSan looks at the way, not at the memory.
  for (let round = gateway.isMeasurable ? 0 : 80; round < 90; round++)
    await gateway.ask('batch', { commands: range(1, 200).map(() => ({ broadcast })) });
  const more = grown(gateway, before);
  t.diagnostic(`${more / MIB} MiB more`);
  assert.ok(more < 128 * MIB, `${more / MIB} MiB more`);
  peers.kill();
  await notices();
});

test('bodies that nobody will read are not kept', async (t) => {
  const { gateway, notices } = await begin(t);
  const before = gateway.memory();
  const head = (method, path, ...headers) => `${method} ${path} HTTP/1.1\r\nHost: a\r\n${headers.map((h) => `${h}\r\n`).join('')}\r\n`;
  const long = `Content-Length: ${16 * MIB}`, key = `X-API-Key: ${KEY}`;
  const status = (text) => [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1]));

  await t.test('the answer comes before the body', async () => {
    for (const [request, wanted] of [
      [head('POST', '/api/publish', long), 401],
      [head('POST', '/api/publish', long, 'X-API-Key: wrong'), 401],
      [head('POST', '/api/publish', 'Transfer-Encoding: chunked'), 401],
      [head('POST', '/api/publish', 'Content-Length: 2', 'Expect: 100-continue'), 401],
      [head('PUT', '/api/publish', long, key), 405],
      [head('POST', '/nowhere', long), 404],
      [head('POST', '/connection/websocket', long), 405],
      [head('GET', '/connection/websocket', long, 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=='), 400],
      [head('GET', '/health/simple', long), 200],
    ]) {
      const { text, isTimeout } = await talk(gateway, [request]);
      assert.deepEqual([status(text), isTimeout], [[wanted], false], request);
      assert.match(text, /^Connection: close\r$/m);
    }
  });

  await t.test('with the key it is read, and a small one anyway', async () => {
    const body = JSON.stringify({ channel: 'chat:long', data: 'x'.repeat(200000) });
    const call = [head('POST', '/api/publish', key, `Content-Length: ${body.length}`, 'Connection: close'), body];
    assert.deepEqual(status((await talk(gateway, call, { gap: 50 })).text), [200]);
    const small = [head('POST', '/api/publish', 'Content-Length: 2'), '{}' + head('GET', '/health/simple', 'Connection: close')];
    assert.deepEqual(status((await talk(gateway, small, { gap: 50 })).text), [401, 200]);
  });

  await t.test('30 peers send 10 MiB each and 30 a chunk after the other', async () => {
    const piece = Buffer.alloc(MIB, 'x');
    const chunk = Buffer.concat([Buffer.from(`${MIB.toString(16)}\r\n`), piece, Buffer.from('\r\n')]);
    const sockets = range(1, 60).map((n) => {
      const socket = connectTcp({ port: gateway.port, host: '127.0.0.1' });
      socket.on('error', () => {}).resume();
      socket.write(head('POST', '/api/publish', n % 2 ? long : 'Transfer-Encoding: chunked'));
      for (let i = 0; i < 10; i++) socket.write(n % 2 ? piece : chunk);
      return socket;
    });
    let most = 0;
    await until(() => {
      most = Math.max(most, grown(gateway, before));
      return sockets.every((socket) => socket.destroyed);
    }, 'all are ended');
    assert.ok(most < 64 * MIB, `${most / MIB} MiB more`);
  });
  await notices();
});

test('who publishes as fast as he can lets others publish, and backends', async (t) => {
  const { gateway, notices } = await begin(t);
  const count = gateway.isMeasurable ? 20000 : 5000, floods = 3;
  const frames = Buffer.concat(range(2, count + 1).map((id) =>
    frame(JSON.stringify({ id, publish: { channel: `live:flood${id % 50}`, data: id } }))));
  const peers = await Promise.all(range(1, floods).map(async (n) => {
    const { socket } = await openRaw(gateway, { id: 1, connect: { token: token({ sub: `flood${n}` }) } });
    const peer = { socket, tail: '', isOver: false };
    socket.removeAllListeners('data').on('data', (bytes) => {
      peer.tail = (peer.tail + bytes.toString('latin1')).slice(-400);
      peer.isOver ||= peer.tail.includes(`"id":${count + 1},`);
    });
    return peer;
  }));
  const other = await openAs(gateway, 'other');
  const isOver = () => peers.every((peer) => peer.isOver);
  let answered = 0, calls = 0, id = 1;
  const flood = async () => {
    peers.forEach((peer) => { Object.assign(peer, { tail: '', isOver: false }).socket.write(frames); });
    while (!isOver()) {
      other.send({ id: ++id, publish: { channel: 'live:other', data: id } });
      const reply = await until(() => other.messages.find((message) => message.id === id), 'it is answered');
      answered += !isOver() && reply !== undefined;
      // Not by way of ask(), which comes again after a 503.
      const { status } = await fetch(`${gateway.http}/api/publish`, { method: 'POST', headers: { 'X-API-Key': KEY },
        body: JSON.stringify({ channel: 'live:other', data: id }) });
      assert.equal(status, 200);
      calls += !isOver();
    }
  };
  // Again when this process had no time to ask while they did.
  for (let tries = 0; tries < 5 && Math.min(answered, calls) < 10; tries++) await flood();
  assert.ok(answered >= 10 && calls >= 10, `${answered} and ${calls} while they flooded`);
  peers.forEach(({ socket }) => socket.destroy());
  other.socket.terminate();
  await notices();
});

test('methods with whatever parameters', async (t) => {
  const { gateway, notices } = await begin(t);
  const seed = Number(process.env.SEED ?? Date.now() % 1e6);
  let state = seed;
  const below = (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 12) % n;
  };
  const pick = (list) => list[below(list.length)];
  const number = () => (below(4) ? below(12) : pick([100, 1000, 1001, 2 ** 32, 2 ** 53, -1, 0.5]));
  const list = (one, lengths = [0, 1, 3, 99, 100, 101, 1000, 1001, 3000]) => Array.from({ length: pick(lengths) }, one);
  const channel = () => pick(['chat:a', 'chat:a', 'chat:a', 'receipts:chat:a', 'live:x', 'none:x', '', 'chat:' + 'x'.repeat(260)]);
  const any = () => pick([number, channel, () => list(number), () => ({ a: 1 }), () => null, () => true])();
  const of = { channel, offset: number, offsets: () => list(below(4) ? () => below(12) : number), limit: number,
    after: number, hidden: () => true, channels: () => list(channel, [0, 1, 3, 99, 100, 101]),
    key: channel, data: any, client: channel, version: channel };
  const methods = ['message.send', 'sync.save', 'sync.load', ...['read', 'delivered', 'view', 'counts', 'readers', 'nonreaders',
    'unread', 'mark_unread', 'hide', 'digest'].map((name) => `receipt.${name}`)];
  const parameters = () => Object.fromEntries(Object.entries(of).filter(([name]) => name === 'channel' || below(2))
    .map(([name, value]) => [name, below(30) ? value() : any()]));
  await gateway.ask('members_set', { channel: 'chat:a', users: ['mallory', 'ann'] });
  const mallory = await connect(gateway, 'mallory');
  t.after(() => mallory.centrifuge.disconnect());
  for (let round = 0; round < 10; round++) {
    const calls = Array.from({ length: 100 }, () => mallory.centrifuge.rpc(pick(methods), parameters()));
    for (const { reason } of await Promise.allSettled(calls))
      assert.ok(!reason || reason.code > 100, `seed ${seed}: ${reason?.code} ${reason?.message}`);
  }
  assert.equal(mallory.connects, 1, `seed ${seed}`);
  await notices();
});
