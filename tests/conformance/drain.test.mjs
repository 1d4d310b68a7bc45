// Ends under load, the good one (SIGTERM) and the bad ones (kill -9 of the gateway
// or of Redis): what was acknowledged is there afterwards, clients come back by
// themselves and have every offset exactly once.
import assert from 'node:assert/strict';
import test from 'node:test';
import { connect as connectTcp } from 'node:net';
import { connect, offsets, range, subscribe } from './client.mjs';
import { Gateway, KEY, NAMESPACES, SECRET, sleep, token, until } from './gateway.mjs';
import { openRaw, talk } from './peer.mjs';
import { Redis } from './redis.mjs';

const CLIENTS = 50, CHANNELS = 5, ROUNDS = 3;

/** Publishes one after the other until told to stop; notes what was acknowledged. */
async function write(client, channel, state) {
  for (let n = 1; state.on; n++) {
    const data = `${client.user}/${n}`;
    try {
      await client.centrifuge.publish(channel, data);
      state.acknowledged.push({ channel, data });
      await sleep(20);
    } catch (error) {
      state.refused.push({ channel, data, error });
      await sleep(20);
    }
  }
}

const sigterm = {
  isClean: true,
  async disturb(gateway, round) {
    assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
    await gateway.start({ shards: [2, 4, 1][round - 1] });
  },
};
const sigkill = {
  async disturb(gateway, round) {
    await gateway.kill();
    await gateway.start({ shards: [2, 4, 1][round - 1] });
  },
};
const redisDies = (redis) => ({
  staysConnected: true,
  async disturb() {
    await redis.kill();
    await sleep(200);
    await redis.start();
  },
});

async function underLoad(t, config, { disturb, isClean = false, staysConnected = false }) {
  const gateway = new Gateway({ shards: 3 });
  gateway.options.config = { log: { level: 'info' }, shutdown: { timeout: '1m' },
    client: { token: { hmac_secret_key: SECRET }, allowed_origins: ['*'], recovery_max_publication_limit: 10000,
      history_max_publication_limit: 10000 },
    channel: { namespaces: [{ ...NAMESPACES[0], history_size: 100000 }] }, ...config(gateway) };
  t.after(() => gateway.end());
  await gateway.start();
  const clients = await Promise.all(range(1, CLIENTS).map((n) => connect(gateway, `u${n}`)));
  t.after(() => clients.forEach(({ centrifuge }) => centrifuge.disconnect()));
  const channelOf = (i) => `chat:load${i % CHANNELS}`;
  const feeds = await Promise.all(clients.map((client, i) => subscribe(client, channelOf(i))));
  const state = { on: true, acknowledged: [], refused: [] };
  const writers = clients.map((client, i) => write(client, channelOf(i), state));

  for (let round = 1; round <= ROUNDS; round++) {
    await sleep(1000);
    const before = state.acknowledged.length;
    await disturb(gateway, round);
    await until(() => clients.every((client) => client.connects > (staysConnected ? 0 : round)), `all are back, round ${round}`);
    await until(() => state.acknowledged.length > before + CLIENTS, 'the writing goes on');
  }
  if (isClean) assert.doesNotMatch(gateway.log, / (warn|error) (?!sockets per shard)/, 'a drain is nothing to warn of');
  state.on = false;
  await Promise.all(writers);
  assert.ok(clients.every((client) => client.disconnects.slice(1).every(({ code }) => code === 1 || (isClean && code === 3001))),
    JSON.stringify(clients.map((client) => client.disconnects)));

  for (let c = 0; c < CHANNELS; c++) {
    const channel = `chat:load${c}`;
    const { publications, offset } = await gateway.ask('history', { channel, limit: -1 });
    assert.deepEqual(offsets(publications), range(1, offset));
    const stored = publications.map((p) => p.data);
    assert.equal(new Set(stored).size, stored.length, 'nothing is stored twice');
    const here = new Set(stored);
    const missing = state.acknowledged.filter((one) => one.channel === channel && !here.has(one.data));
    assert.deepEqual(missing, [], 'every acknowledged publication is in the history');
    const stray = state.refused.filter((one) => one.channel === channel && here.has(one.data));
    if (isClean) assert.deepEqual(stray, [], 'what was refused is not there');
    for (let i = c; i < CLIENTS; i += CHANNELS) {
      await until(() => feeds[i].publications.length >= offset, `${clients[i].user} has all of ${channel}`);
      assert.deepEqual(offsets(feeds[i].publications), range(1, offset));
      assert.deepEqual(feeds[i].publications.map((p) => p.data), stored);
      assert.ok(feeds[i].subscribed.slice(1).every((context) => context.recovered));
    }
  }
  t.diagnostic(`${state.acknowledged.length} acknowledged, ${state.refused.length} not`);
}

const embedded = (gateway) => ({ storage: { engine: 'embedded', path: `${gateway.dir}/data` } });
const over = (redis) => () => ({ storage: { engine: 'redis' }, redis: redis.options });
async function withRedis(t, work) {
  const redis = await new Redis().start();
  t.after(() => redis.end());
  await work(redis);
}

test('SIGTERM, embedded', (t) => underLoad(t, embedded, sigterm));
test('SIGTERM, redis', (t) => withRedis(t, (redis) => underLoad(t, over(redis), sigterm)));
test('kill -9, embedded', (t) => underLoad(t, embedded, sigkill));
test('kill -9, redis', (t) => withRedis(t, (redis) => underLoad(t, over(redis), sigkill)));
test('kill -9 of Redis', (t) => withRedis(t, (redis) => underLoad(t, over(redis), redisDies(redis))));

test('clients that never read or never speak hold nothing up', async (t) => {
  const gateway = new Gateway({ shards: 2, config: { storage: { engine: 'memory' }, log: { level: 'info' }, shutdown: { timeout: '2s' } } });
  t.after(() => gateway.end());
  await gateway.start();
  const stuck = [];
  for (let i = 0; i < 4; i++) {
    stuck[i] = await openRaw(gateway, { id: 1, connect: { token: token({ sub: 'stuck' }) } },
      { id: 2, subscribe: { channel: 'chat:stuck' } });
    await until(() => stuck[i].received.includes('"subscribe"'), 'it is subscribed');
    stuck[i].socket.pause();
  }
  stuck.push(await openRaw(gateway)); // upgraded, silent
  // Enough that the kernel takes no more, not so much that they are slow.
  for (let i = 0; i < 110; i++) await gateway.ask('publish', { channel: 'chat:stuck', data: 'z'.repeat(60000) });
  // It ends by itself: what is not over in time would be cut off, with code 1.
  assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
  stuck.forEach(({ socket }) => socket.destroy());
});

const UPGRADE = 'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n';
const ASKED = [
  'GET /connection/websocket HTTP/1.1\r\nHost: a\r\n' + UPGRADE + '\r\n',
  `POST /api/info HTTP/1.1\r\nHost: a\r\nX-API-Key: ${KEY}\r\nContent-Length: 2\r\n\r\n{}`,
  'GET /health HTTP/1.1\r\nHost: a\r\n\r\n', 'GET /health/simple HTTP/1.1\r\nHost: a\r\n\r\n',
];

/** A connection that says `text`, and more when told to. */
async function say(gateway, text) {
  const socket = connectTcp(gateway.port, '127.0.0.1');
  const one = { socket, text: '', isOver: false, error: null };
  socket.on('data', (bytes) => { one.text += bytes; });
  socket.on('error', (error) => { one.error = error; });
  socket.on('close', () => { one.isOver = true; });
  await new Promise((done) => socket.once('connect', done));
  if (text) socket.write(text);
  return one;
}

for (const shards of [1, 4])
  test(`who asks while a client holds the drain up is answered 503, ${shards} shards`, async (t) => {
    const gateway = new Gateway({ shards, config: { storage: { engine: 'memory' }, shutdown: { timeout: '4s' } } });
    t.after(() => gateway.end());
    await gateway.start();
    // It does not answer the close frame, so it is waited for.
    const mute = await openRaw(gateway, { id: 1, connect: { token: token({ sub: 'mute' }) } });
    await until(() => mute.received.includes('"connect"'), 'it is connected');
    const kept = await Promise.all(ASKED.map(() => say(gateway, ASKED[3])));
    await until(() => kept.every(({ text }) => text.endsWith('ok')), 'the first requests are answered');
    const halves = await Promise.all(ASKED.map((text) => say(gateway, text.slice(0, 20))));
    const never = await say(gateway, ASKED[0].slice(0, 20));
    const silent = await say(gateway);

    gateway.child.kill('SIGTERM');
    await until(() => /draining/.test(gateway.log), 'it drains');
    for (const wait of [200, 800]) {
      await sleep(wait);
      const answers = await Promise.all(ASKED.flatMap((text) => [1, 2, 3].map(() => talk(gateway, [text]))));
      for (const { text, error } of answers) {
        assert.match(text, /^HTTP\/1\.1 503 [^]*^Connection: close\r$/m, `${text} ${error}`);
        assert.equal(error, null);
      }
      assert.equal(mute.isEnded, false, 'the drain is under way');
    }
    kept.forEach(({ socket }, i) => socket.write(ASKED[i]));
    halves.forEach(({ socket }, i) => socket.write(ASKED[i].slice(20)));
    await until(() => [...kept, ...halves].every(({ isOver }) => isOver), 'they are answered and closed');
    for (const { text } of kept) assert.deepEqual(text.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 200', 'HTTP/1.1 503'], text);
    for (const { text } of halves) assert.deepEqual(text.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 503'], text);
    assert.equal(mute.isEnded, false, 'the drain is under way');
    assert.equal(never.isOver || silent.isOver, false);

    mute.socket.destroy(); // and so the drain is over; what never asks does not hold it up
    assert.deepEqual(await gateway.exited, { code: 0, signal: null });
    await until(() => never.isOver && silent.isOver, 'they are closed');
    assert.equal(never.text + silent.text, '');
    assert.equal((await talk(gateway, [ASKED[2]])).error, 'ECONNREFUSED');
  });
