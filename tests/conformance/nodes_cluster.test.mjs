// Gateways over a Redis Cluster are one to whoever asks them: also when the slots of
// what they share move, and when the primary of it dies.
import assert from 'node:assert/strict';
import test from 'node:test';
import { connect } from './client.mjs';
import { Gateway, SECRET, until } from './gateway.mjs';
import { openAs } from './peer.mjs';
import { RedisCluster } from './redis_cluster.mjs';

const OPEN = { allow_subscribe_for_client: true, allow_presence_for_subscriber: true };
const NAMESPACES = [{ name: 'room', presence: true, join_leave: true, force_push_join_leave: true, ...OPEN }];

test('nodes over a Cluster', async (t) => {
  const redis = await new RedisCluster().start();
  t.after(() => redis.end());
  const config = { storage: { engine: 'redis' }, redis: redis.options, channel: { namespaces: NAMESPACES },
    client: { token: { hmac_secret_key: SECRET } } };
  const here = new Gateway({ config }), there = new Gateway({ config });
  t.after(async () => { await here.end(); await there.end(); });
  await Promise.all([here.start({ shards: 1 }), there.start({ shards: 2 })]);
  const both = (probe, what) => until(async () => await probe(here) && await probe(there), what);
  const users = async (gateway, channel) => String(Object.values(
    (await gateway.ask('presence', { channel }).catch(() => ({ presence: {} }))).presence).map((info) => info.user).sort());
  const rooms = Array.from({ length: 12 }, (_, n) => `room:${n}`);
  const ann = await connect(here, 'ann'), bob = await connect(there, 'bob');
  t.after(() => { ann.centrifuge.disconnect(); bob.centrifuge.disconnect(); });
  const join = async (client) => {
    for (const room of rooms) client.centrifuge.newSubscription(room).subscribe();
    await until(() => rooms.every((room) => client.centrifuge.getSubscription(room).state === 'subscribed'), 'subscribed');
  };
  const everyoneIs = async (wanted, what) => {
    for (const room of rooms) await both(async (gateway) => await users(gateway, room) === wanted, `${what}: ${room}`);
  };
  const everything = async () => {
    await both((gateway) => gateway.ask('info', {}).then(({ nodes }) => nodes.length === 2, () => false), 'info of two');
    await both((gateway) => gateway.ask('channels', {}).then(({ channels }) =>
      rooms.every((room) => channels[room]?.num_clients === 2), () => false), 'channels of two');
    for (const user of ['eve', 'fay', 'gus']) {
      const peers = [await openAs(here, user), await openAs(there, user)];
      await until(() => here.ask('disconnect', { user }).then(() => true, () => false), 'said');
      for (const peer of peers) await peer.end();
    }
  };
  const owner = (key) => redis.primaries.find((one) => one.ask('EXISTS', key) === '1');

  await t.test('everything is of both', async () => {
    await join(ann);
    await join(bob);
    await everyoneIs('ann,bob', 'both attend');
    await everything();
  });

  await t.test('slots move', async () => {
    const room = redis.primaries.flatMap((one) => one.ask('--scan', '--pattern', '*:at:room:3').split('\n')).find(Boolean);
    for (const key of ['sluice:{p0}:nodes', room]) {
      const from = owner(key), to = redis.primaries[(redis.primaries.indexOf(from) + 1) % 3];
      await redis.move(Number(from.ask('CLUSTER', 'KEYSLOT', key)), from, to);
      assert.equal(owner(key), to);
    }
    await everyoneIs('ann,bob', 'both still attend');
    bob.centrifuge.getSubscription('room:3').unsubscribe();
    await both(async (gateway) => await users(gateway, 'room:3') === 'ann', 'bob left one');
    bob.centrifuge.getSubscription('room:3').subscribe();
    await everyoneIs('ann,bob', 'and came back');
    await everything();
  });

  await t.test('the primary of the leases dies', async () => {
    const dead = owner('sluice:{p0}:nodes');
    const at = redis.primaries.indexOf(dead);
    await dead.isFollowedBy(redis.servers[at + 3]);
    await dead.kill();
    redis.primaries[at] = redis.servers[at + 3];
    await both((gateway) => fetch(`${gateway.http}/health`).then((answer) => answer.ok), 'both are healthy');
    await everyoneIs('ann,bob', 'both attend again');
    await everything();
  });
});
