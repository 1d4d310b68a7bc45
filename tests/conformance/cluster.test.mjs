// Two gateways on a Redis Cluster: slots move under them, a primary dies.
import assert from 'node:assert/strict';
import test from 'node:test';
import { connect, range, subscribe } from './client.mjs';
import { Gateway, NAMESPACES, sleep, until } from './gateway.mjs';
import { RedisCluster } from './redis_cluster.mjs';

test('a Cluster is one store', async (t) => {
  const redis = await new RedisCluster().start();
  t.after(() => redis.end());
  const rooms = { name: 'room', presence: true, join_leave: true, allow_subscribe_for_client: true };
  const options = { config: { storage: { engine: 'redis' }, redis: redis.options, channel: { namespaces: [...NAMESPACES, rooms] } } };
  const here = new Gateway(options), there = new Gateway(options);
  t.after(() => { here.end(); there.end(); });
  await here.start({ shards: 1 });
  await there.start({ shards: 4 });
  const alice = await connect(here, 'alice'), bob = await connect(there, 'bob');
  t.after(() => { alice.centrifuge.disconnect(); bob.centrifuge.disconnect(); });
  const store = async (gateway) => (await (await fetch(`${gateway.http}/health`)).json()).store;
  const channels = range(1, 8).map((n) => `chat:${n}`);
  const feeds = [];
  for (const channel of channels) feeds.push(await subscribe(alice, channel), await subscribe(bob, channel));
  const asked = async (channel, n) => {
    const publish = () => here.ask('publish', { channel, data: n, idempotency_key: `k${n}` });
    await until(() => publish().then(() => true, () => false), `${n} was published`);
  };
  const heard = (count) => until(() => feeds.every((feed) => feed.publications.length === count), `${count} arrived everywhere`);
  const tagOf = (channel) => {
    for (const one of redis.primaries) {
      const key = one.ask('--scan', '--pattern', `*:s:${channel}`);
      if (key !== '') return { key, owner: one, slot: Number(one.ask('CLUSTER', 'KEYSLOT', key)) };
    }
    return assert.fail(`nobody has ${channel}`);
  };

  await t.test('every channel is heard at both, over three primaries', async () => {
    for (const n of range(1, 5)) for (const channel of channels) await asked(channel, n);
    await heard(5);
    const { servers, ok } = await store(there);
    assert.equal(ok, true);
    assert.equal(servers.length, 3);
    assert.ok(servers.every((one) => one.ok && one.role === 'primary'));
  });

  await t.test('slots move: nothing is lost, doubled, or told', async () => {
    for (const channel of channels.slice(0, 2)) {
      const { owner, slot } = tagOf(channel);
      const to = redis.primaries[(redis.primaries.indexOf(owner) + 1) % 3];
      let published;
      await redis.move(slot, owner, to, async () => { published = asked(channel, 6); await sleep(100); });
      await published;
      assert.equal(tagOf(channel).owner, to);
    }
    for (const channel of channels.slice(2)) await asked(channel, 6);
    await heard(6);
    for (const n of range(7, 8)) for (const channel of channels) await asked(channel, n);
    await heard(8);
    for (const feed of feeds) {
      assert.deepEqual(feed.publications.map((p) => p.data), range(1, 8));
      assert.equal(feed.subscribed.length, 1);
    }
  });

  await t.test('presence and what is said to users follow their slots, too', async () => {
    const places = range(1, 6).map((n) => `room:${n}`);
    const present = async (count) => {
      for (const channel of places)
        await until(async () => (await here.ask('presence_stats', { channel })).num_clients === count, `${count} in ${channel}`);
    };
    const moved = async (slot) => {
      const from = redis.primaries.find((one) => Number(one.ask('CLUSTER', 'COUNTKEYSINSLOT', slot)) > 0);
      await redis.move(slot, from, redis.primaries[(redis.primaries.indexOf(from) + 1) % 3]);
    };
    const carol = await connect(here, 'carol'), dave = await connect(there, 'dave');
    t.after(() => { carol.centrifuge.disconnect(); dave.centrifuge.disconnect(); });
    for (const channel of places) { await subscribe(carol, channel); await subscribe(dave, channel); }
    await present(2);
    const keys = redis.primaries.flatMap((one) => one.ask('--scan', '--pattern', '*:at:room:1').split('\n')).filter((key) => key !== '');
    for (const key of [...keys, 'sluice:{p0}:nodes']) await moved(Number(redis.primaries[0].ask('CLUSTER', 'KEYSLOT', key)));
    await here.ask('disconnect', { user: 'dave' });
    await until(() => dave.centrifuge.state === 'disconnected', 'dave is gone');
    await present(1);
    assert.equal((await there.ask('info', {})).nodes.length, 2);
  });

  await t.test('a primary dies: its channels are told, the others notice nothing', async () => {
    const { owner } = tagOf(channels[0]);
    const lost = channels.filter((channel) => tagOf(channel).owner === owner);
    await owner.isFollowedBy(redis.servers[redis.primaries.indexOf(owner) + 3]);
    await owner.kill();
    const away = redis.primaries.indexOf(owner);
    redis.primaries[away] = redis.servers[away + 3];
    const told = (feed) => lost.includes(feed.subscription.channel);
    // Who is told that something may be gone does not get what came meanwhile, but asks for it.
    for (const channel of channels) await asked(channel, 9);
    await until(() => feeds.every((feed) => feed.subscribed.length === (told(feed) ? 2 : 1)), 'they are told');
    await until(async () => (await store(here)).ok && (await store(there)).ok, 'both are healthy');
    for (const channel of channels) await asked(channel, 10);
    await until(() => feeds.every((feed) => feed.publications.at(-1).data === 10), 'all arrived');
    for (const feed of feeds) {
      assert.equal(feed.subscribed.length, told(feed) ? 2 : 1);
      if (told(feed)) assert.equal(feed.subscribed[1].recovered, false);
      const { publications } = await feed.subscription.history({ limit: 20 });
      assert.deepEqual(publications.map((p) => p.data), range(1, 10));
    }
  });
});
