// Two gateways behind Sentinels: the primary dies, its replica takes over, everybody is told.
import assert from 'node:assert/strict';
import test from 'node:test';
import { connect, subscribe } from './client.mjs';
import { Gateway, until } from './gateway.mjs';
import { RedisSentinel } from './redis_sentinel.mjs';

test('a fail-over is followed', async (t) => {
  const redis = await new RedisSentinel().start();
  t.after(() => redis.end());
  const options = { config: { storage: { engine: 'redis' }, redis: redis.options } };
  const here = new Gateway(options), there = new Gateway(options);
  t.after(() => { here.end(); there.end(); });
  await here.start({ shards: 1 });
  await there.start({ shards: 4 });
  const bob = await connect(there, 'bob');
  t.after(() => bob.centrifuge.disconnect());
  const feed = await subscribe(bob, 'chat:room');
  const store = async (gateway) => (await (await fetch(`${gateway.http}/health`)).json()).store;
  const primaries = async (gateway) => (await store(gateway)).servers.filter((one) => one.role === 'primary').map((one) => one.address);
  const publish = (n) => here.ask('publish', { channel: 'chat:room', data: n, idempotency_key: `k${n}` });

  await t.test('the primary and the Sentinels are named', async () => {
    await publish(1);
    await until(() => feed.publications.length === 1, 'it arrived');
    const { servers, ok } = await store(there);
    assert.equal(ok, true);
    assert.deepEqual(servers.map((one) => one.role).sort(), ['primary', 'sentinel', 'sentinel', 'sentinel']);
    assert.deepEqual(await primaries(here), [redis.primary.address]);
  });

  await t.test('the primary dies: nothing that was acknowledged before is gone, and listeners are told', async () => {
    await redis.primary.isFollowedBy(redis.replica);
    await redis.primary.kill();
    await until(async () => (await primaries(there))[0] === redis.replica.address, 'the other one is the primary');
    await until(() => publish(2).then(() => true, () => false), 'publishing works again');
    await until(async () => (await store(here)).ok && (await store(there)).ok, 'both are healthy');
    await until(() => feed.subscribed.length === 2, 'bob is told');
    assert.equal(feed.subscribed[1].recovered, false);
    await publish(3);
    await until(() => feed.publications.at(-1).data === 3, 'it arrived');
    const { publications } = await feed.subscription.history({ limit: 10 });
    assert.deepEqual(publications.map((p) => p.data), [1, 2, 3]);
  });
});
