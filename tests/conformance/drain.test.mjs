// Ends under load, the good one (SIGTERM) and the bad ones (kill -9 of the gateway
// or of Redis): what was acknowledged is there afterwards, clients come back by
// themselves and have every offset exactly once.
import assert from 'node:assert/strict';
import test from 'node:test';
import { connect, offsets, range, subscribe } from './client.mjs';
import { Gateway, NAMESPACES, SECRET, sleep, token, until } from './gateway.mjs';
import { openRaw } from './peer.mjs';
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
