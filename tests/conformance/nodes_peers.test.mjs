// Gateways over one Redis are one to whoever asks them: who attends a channel, which
// channels there are, and what a backend says of a user.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import test from 'node:test';
import { connect, subscribe } from './client.mjs';
import { Gateway, SECRET, token, until } from './gateway.mjs';
import { open, openAs } from './peer.mjs';
import { Redis } from './redis.mjs';

const OPEN = { allow_subscribe_for_client: true, allow_presence_for_subscriber: true };
const NAMESPACES = [
  { name: 'room', presence: true, join_leave: true, force_push_join_leave: true, ...OPEN },
  { name: 'told', join_leave: true, force_push_join_leave: true, ...OPEN },
  { name: 'plain', ...OPEN },
  { name: 'personal' },
];

const config = (redis, more = {}) => ({
  storage: { engine: 'redis' }, redis: redis.options,
  channel: { presence_max_clients: 5, namespaces: NAMESPACES },
  client: { token: { hmac_secret_key: SECRET }, allow_anonymous_connect_without_token: true, ...more },
});

async function fleet(t, redis, shards, more) {
  const gateways = shards.map((count) => new Gateway({ shards: count, config: config(redis, more) }));
  t.after(async () => { for (const gateway of gateways) await gateway.end(); });
  await Promise.all(gateways.map((gateway) => gateway.start()));
  return gateways;
}

const say = (redis, ...words) => execFileSync('redis-cli', ['-p', String(redis.port), ...words], { encoding: 'utf8' }).trim();
const lives = (redis) => say(redis, 'ZRANGE', 'sluice:{p0}:nodes', '0', '-1').split('\n').filter(Boolean);
/** As if no beat had come for long: whoever beats next finds those nodes dead. */
const age = (redis, names) => { for (const life of names) say(redis, 'ZADD', 'sluice:{p0}:nodes', 'XX', '1', life); };

async function listen(client, channel) {
  const feed = { heard: [], subscribed: 0 };
  feed.subscription = client.centrifuge.newSubscription(channel);
  feed.subscription.on('subscribed', () => { feed.subscribed++; });
  feed.subscription.on('join', ({ info }) => feed.heard.push(`+${info.user}`));
  feed.subscription.on('leave', ({ info }) => feed.heard.push(`-${info.user}`));
  feed.subscription.subscribe();
  await until(() => feed.subscribed > 0, `${client.user} is subscribed`);
  return feed;
}
const users = async (gateway, channel) => Object.values((await gateway.ask('presence', { channel })).presence)
  .map((info) => info.user).sort();
const stats = async (gateway, channel) => {
  const { num_clients: clients, num_users: count } = await gateway.ask('presence_stats', { channel });
  return `${clients}/${count}`;
};

test('three nodes over one Redis', async (t) => {
  const redis = await new Redis().start();
  t.after(() => redis.end());
  const gateways = await fleet(t, redis, [2, 3]);
  const [here, there] = gateways;
  await until(() => lives(redis).length === 5, 'their shards live');
  const others = lives(redis);
  const [third] = await fleet(t, redis, [1]);
  gateways.push(third);
  await until(() => lives(redis).length === 6, 'every shard lives');
  const thirds = lives(redis).find((life) => !others.includes(life)).slice(0, 8);
  const everyone = (probe, what) => until(async () => {
    for (const gateway of gateways) if (!await probe(gateway)) return false;
    return true;
  }, what);
  const clients = [];
  t.after(() => { for (const client of clients) client.centrifuge.disconnect(); });
  const join = async (gateway, user) => { clients.push(await connect(gateway, user)); return clients.at(-1); };
  const ann = await join(here, 'ann'), bob = await join(there, 'bob'), cid = await join(third, 'cid');

  await t.test('info names every node and what it has', async () => {
    await everyone(async (gateway) => {
      const { nodes } = await gateway.ask('info', {});
      return nodes.length === 3 && nodes.every((node) => node.num_clients === 1 && node.num_users === 1)
        && new Set(nodes.map((node) => node.uid)).size === 3;
    }, 'three nodes with a client each');
    const { nodes } = await there.ask('info', {});
    assert.deepEqual(nodes.map((node) => node.shards.length).sort(), [1, 2, 3]);
    assert.equal(nodes[0].shards.length, 3, 'the one that was asked comes first');
  });

  const feeds = [];
  await t.test('who attends, and who comes and goes, everywhere', async () => {
    for (const client of [ann, bob, cid]) feeds.push(await listen(client, 'room:1'));
    await everyone(async (gateway) => String(await users(gateway, 'room:1')) === 'ann,bob,cid', 'all are listed');
    assert.equal(await stats(third, 'room:1'), '3/3');
    assert.deepEqual(Object.keys((await bob.centrifuge.presence('room:1')).clients).sort(),
      [ann.id, bob.id, cid.id].sort());
    await until(() => feeds[0].heard.includes('+cid') && feeds[1].heard.includes('+cid'), 'joins arrived');
    assert.deepEqual(feeds[0].heard, ['+ann', '+bob', '+cid']);
    assert.deepEqual(feeds[1].heard, ['+bob', '+cid']);
    const again = await join(there, 'ann');
    const feed = await listen(again, 'room:1');
    await until(() => feeds[0].heard.at(-1) === '+ann' && feeds[2].heard.at(-1) === '+ann', 'ann came twice');
    assert.equal(await stats(here, 'room:1'), '4/3');
    feed.subscription.unsubscribe();
    await until(() => feeds[0].heard.at(-1) === '-ann' && feeds[2].heard.at(-1) === '-ann', 'and went');
    await everyone(async (gateway) => await stats(gateway, 'room:1') === '3/3', 'three are left');
  });

  await t.test('a crowd is counted over all nodes and not listed', async () => {
    const feed = await listen(ann, 'room:crowd');
    for (const client of [bob, cid]) await listen(client, 'room:crowd');
    for (const gateway of gateways) await listen(await join(gateway, 'dan'), 'room:crowd');
    await everyone(async (gateway) => await stats(gateway, 'room:crowd') === '6/4', 'six, four of them users');
    for (const gateway of gateways)
      assert.equal((await gateway.api('presence', { channel: 'room:crowd' })).error.code, 1003);
    assert.ok(feed.heard.length >= 3);
    for (const client of clients.splice(-3)) client.centrifuge.disconnect();
    await everyone(async (gateway) => await stats(gateway, 'room:crowd') === '3/3', 'three are left');
  });

  await t.test('who is told only is not listed', async () => {
    const feed = await listen(ann, 'told:1');
    const other = await listen(bob, 'told:1');
    await until(() => feed.heard.includes('+bob'), 'told');
    other.subscription.unsubscribe();
    await until(() => feed.heard.includes('-bob'), 'told of the leave');
    assert.equal(say(redis, '--raw', 'KEYS', 'sluice:*:in:*:told:1'), '');
  });

  await t.test('channels of all nodes, with the clients of all', async () => {
    for (const client of [ann, bob, cid]) await subscribe(client, 'plain:1');
    await subscribe(cid, 'plain:only');
    for (const gateway of gateways) {
      const { channels } = await gateway.ask('channels', { pattern: 'plain:*' });
      assert.deepEqual(channels, { 'plain:1': { num_clients: 3 }, 'plain:only': { num_clients: 1 } });
    }
  });

  await t.test('Redis starts anew: who attends is as it was', async () => {
    await redis.kill();
    const late = await join(there, 'eve');
    feeds[1].subscription.unsubscribe();
    await redis.start();
    await listen(late, 'room:1');
    await everyone(async (gateway) => String(await users(gateway, 'room:1').catch(() => '')) === 'ann,cid,eve', 'as it is');
    late.centrifuge.disconnect();
    await everyone(async (gateway) => await stats(gateway, 'room:1') === '2/2', 'two are left');
  });

  await t.test('Redis is emptied: everyone is entered again', async () => {
    say(redis, 'FLUSHALL');
    await everyone(async (gateway) => String(await users(gateway, 'room:1').catch(() => '')) === 'ann,cid', 'both are back');
    await until(() => lives(redis).length === 6, 'every shard lives again');
    assert.match(gateways[0].log, /lease of this shard is gone from Redis before its time: keys were removed, as by FLUSHALL/);
    assert.doesNotMatch(gateways[0].log, /could not renew its lease/);
  });

  await t.test('a lease that ended is found out by its own node', async () => {
    const before = lives(redis);
    age(redis, before);
    await until(() => lives(redis).length === 6 && !lives(redis).some((life) => before.includes(life)), 'new lives');
    await everyone(async (gateway) => String(await users(gateway, 'room:1')) === 'ann,cid', 'everyone is back');
  });

  await t.test('a node that dies leaves nothing behind', async () => {
    const seen = feeds[0].heard.length;
    await third.kill();
    cid.centrifuge.disconnect();
    age(redis, lives(redis).filter((life) => life.startsWith(thirds)));
    gateways.pop();
    await everyone(async (gateway) => String(await users(gateway, 'room:1')) === 'ann', 'cid is gone');
    await everyone(async (gateway) => await stats(gateway, 'room:1') === '1/1', 'and not counted');
    await until(() => feeds[0].heard.slice(seen).includes('-cid'), 'and ann was told');
    await everyone(async (gateway) => (await gateway.ask('info', {})).nodes.length === 2, 'two nodes');
    await everyone(async (gateway) => Object.keys((await gateway.ask('channels', {})).channels).length > 0, 'channels');
  });

  await t.test('a node that ends is not waited for', async () => {
    await there.stop();
    gateways.pop();
    assert.equal((await here.ask('info', {})).nodes.length, 1);
    assert.ok((await here.ask('channels', {})).channels['room:1']);
  });
});

const WITH_PERSONAL = (single) => ({
  subscribe_to_user_personal_channel: { enabled: true, personal_channel_namespace: 'personal', single_connection: single },
});

test('what a backend says of a user reaches every node', async (t) => {
  const redis = await new Redis().start();
  t.after(() => redis.end());
  const [here, there] = await fleet(t, redis, [1, 2]);
  const pair = async (user) => [await openAs(here, user), await openAs(there, user)];
  const close = (peers) => { for (const peer of peers) peer.socket.close(); };

  await t.test('disconnect', async () => {
    const peers = await pair('ann');
    const other = await openAs(there, 'other');
    await here.ask('disconnect', { user: 'ann', disconnect: { code: 4321, reason: 'go' } });
    for (const peer of peers) await peer.end();
    for (const peer of peers) assert.deepEqual(peer.closed, { code: 4321, reason: 'go' });
    assert.equal(other.closed, null);
    const again = await pair('ann');
    await there.ask('subscribe', { user: 'ann', channel: 'plain:last' });
    for (const peer of again) await until(() => peer.messages.some((m) => m.push?.subscribe), 'nobody who came later was meant');
    close([...again, other]);
  });

  await t.test('subscribe, unsubscribe, in one order on every node', async () => {
    const peers = await pair('bob');
    const count = (peer, kind) => peer.messages.filter((m) => m.push?.[kind]).length;
    for (let i = 0; i < 5; i++) {
      await (i % 2 ? here : there).ask('subscribe', { user: 'bob', channel: 'plain:x' });
      for (const peer of peers) await until(() => count(peer, 'subscribe') === i + 1, `subscribed ${i}`);
      await (i % 2 ? there : here).ask('unsubscribe', { user: 'bob', channel: 'plain:x' });
      for (const peer of peers) await until(() => count(peer, 'unsubscribe') === i + 1, `unsubscribed ${i}`);
    }
    close(peers);
  });

  await t.test('refresh that says expired, and anonymous clients', async () => {
    const peers = await pair('cid');
    await there.ask('refresh', { user: 'cid', expired: true });
    for (const peer of peers) await peer.end();
    for (const peer of peers) assert.equal(peer.closed.code, 3005);
    const nobody = [open(here), open(there)];
    for (const peer of nobody) { await peer.ready; peer.send({ id: 1, connect: {} }); await peer.reply(1); }
    await here.ask('disconnect', { user: '' });
    for (const peer of nobody) await peer.end();
  });

  await t.test('a node that heard nothing reads what it missed', async () => {
    for (let i = 0; i < 10; i++) {
      const peers = await pair(`user${i}`);
      say(redis, 'CLIENT', 'KILL', 'TYPE', 'pubsub');
      await here.ask('disconnect', { user: `user${i}` });
      for (const peer of peers) await peer.end();
    }
  });

  await t.test('while Redis is away nothing is promised', async () => {
    const peers = await pair('dan');
    await redis.kill();
    await assert.rejects(here.ask('disconnect', { user: 'dan' }));
    await redis.start();
    await until(() => here.ask('disconnect', { user: 'dan' }).then(() => true, () => false), 'it is back');
    for (const peer of peers) await peer.end();
  });
});

test('one connection of a user over all nodes', async (t) => {
  const redis = await new Redis().start();
  t.after(() => redis.end());
  const [here, there] = await fleet(t, redis, [2, 2], WITH_PERSONAL(true));
  const first = await openAs(here, 'ann');
  const second = await openAs(there, 'ann');
  await first.end();
  assert.equal(first.closed.code, 3504);
  const third = await openAs(here, 'ann');
  await second.end();
  assert.equal(second.closed.code, 3504);
  assert.equal(third.closed, null);

  // At once on both: exactly one stays, whichever it is.
  for (let round = 0; round < 10; round++) {
    const peers = [open(here), open(there), open(here), open(there)];
    for (const peer of peers) await peer.ready;
    for (const peer of peers) peer.send({ id: 1, connect: { token: token({ sub: `user${round}` }) } });
    await until(() => peers.filter((peer) => peer.closed).length === 3, 'three ended');
    const [left] = peers.filter((peer) => !peer.closed);
    await left.reply(1);
    left.send({ id: 2, rpc: { method: 'none', data: {} } });
    await left.reply(2);
    assert.equal(left.closed, null);
    left.socket.close();
  }
});
