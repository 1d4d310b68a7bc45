// Presence, its counts, joins and leaves, as the official SDK sees them, with
// clients on any number of shards.
import assert from 'node:assert/strict';
import test from 'node:test';
import { connect, subscribe } from './client.mjs';
import { Gateway, SECRET, token, until } from './gateway.mjs';
import { openAs } from './peer.mjs';

const MOST = 4; // channel.presence_max_clients of these gateways

const OPEN = { allow_subscribe_for_client: true, allow_presence_for_subscriber: true };
const NAMESPACES = [
  { name: 'room', presence: true, join_leave: true, ...OPEN },
  { name: 'loud', presence: true, join_leave: true, force_push_join_leave: true, ...OPEN },
  { name: 'mute', presence: true, ...OPEN },
  { name: 'told', join_leave: true, ...OPEN },
  { name: 'shut', presence: true, allow_subscribe_for_client: true },
  { name: 'open', presence: true, allow_subscribe_for_client: true, allow_presence_for_client: true },
  { name: 'none', ...OPEN },
];

const config = {
  channel: { presence_max_clients: MOST, namespaces: NAMESPACES },
  client: { token: { hmac_secret_key: SECRET }, allow_anonymous_connect_without_token: true },
};

async function start(t, shards) {
  const gateway = new Gateway({ shards, config });
  const clients = [];
  t.after(async () => {
    for (const client of clients) client.centrifuge.disconnect();
    await gateway.end();
  });
  await gateway.start();
  gateway.connect = async (user, info) => {
    const client = await connect(gateway, user, { token: token(info ? { sub: user, info } : { sub: user }) });
    clients.push(client);
    return client;
  };
  return gateway;
}

/** Subscribes and notes who came and went. */
async function listen(client, channel, options = {}) {
  const feed = { joins: [], leaves: [], order: [] };
  const subscription = client.centrifuge.newSubscription(channel, options);
  subscription.on('subscribed', () => feed.order.push('subscribed'));
  subscription.on('join', ({ info }) => { feed.joins.push(info); feed.order.push(`join ${info.user}`); });
  subscription.on('leave', ({ info }) => { feed.leaves.push(info); feed.order.push(`leave ${info.user}`); });
  subscription.subscribe();
  await until(() => feed.order.includes('subscribed'), `${client.user} is subscribed to ${channel}`);
  return Object.assign(feed, { subscription });
}

const code = (promise) => promise.then(() => 0, (error) => error.code);
const users = (presence) => Object.values(presence.clients).map((info) => info.user).sort();

for (const shards of [1, 4]) {
  test(`who is there, on ${shards} shards`, async (t) => {
    const gateway = await start(t, shards);
    const ann = await gateway.connect('ann', { face: ':)' });
    const ann2 = await gateway.connect('ann');
    const bob = await gateway.connect('bob');
    const { subscription } = await subscribe(ann, 'mute:1');
    const { clients } = await ann.centrifuge.presence('mute:1');
    assert.deepEqual(Object.keys(clients), [ann.id]);
    assert.equal(clients[ann.id].user, 'ann');
    assert.equal(clients[ann.id].client, ann.id);
    assert.deepEqual(clients[ann.id].connInfo, { face: ':)' });
    await subscribe(ann2, 'mute:1');
    await subscribe(bob, 'mute:1');

    // The reply of the last subscribe was read: it is there for everybody.
    const presence = await ann.centrifuge.presence('mute:1');
    assert.deepEqual(Object.keys(presence.clients).sort(), [ann.id, ann2.id, bob.id].sort());
    assert.deepEqual(users(presence), ['ann', 'ann', 'bob']);
    assert.deepEqual(await bob.centrifuge.presenceStats('mute:1'), { numClients: 3, numUsers: 2 });

    subscription.unsubscribe();
    await until(async () => (await bob.centrifuge.presenceStats('mute:1')).numClients === 2, 'ann left');
    assert.deepEqual(users(await bob.centrifuge.presence('mute:1')), ['ann', 'bob']);
    ann2.centrifuge.disconnect();
    await until(async () => (await bob.centrifuge.presenceStats('mute:1')).numClients === 1, 'both left');
    assert.deepEqual(await bob.centrifuge.presenceStats('mute:1'), { numClients: 1, numUsers: 1 });
    // Nobody has ever been there.
    const carl = await gateway.connect('carl');
    assert.deepEqual(await carl.centrifuge.presence('open:x'), { clients: {} });
    assert.deepEqual(await carl.centrifuge.presenceStats('open:x'), { numClients: 0, numUsers: 0 });
  });

  test(`joins and leaves, exactly one each, on ${shards} shards`, async (t) => {
    const gateway = await start(t, shards);
    const ann = await gateway.connect('ann', { face: ':)' });
    const feed = await listen(ann, 'room:1', { joinLeave: true });
    await until(() => feed.joins.length === 1, 'ann hears of herself');
    assert.deepEqual(feed.order, ['subscribed', 'join ann']);
    assert.equal(feed.joins[0].client, ann.id);
    assert.deepEqual(feed.joins[0].connInfo, { face: ':)' });

    // bob leaves by unsubscribing, carl by disconnecting, dan by dying.
    const bob = await gateway.connect('bob');
    const carl = await gateway.connect('carl');
    const dan = await gateway.connect('dan');
    const quiet = await listen(bob, 'room:1'); // does not ask for joins
    await listen(carl, 'room:1', { joinLeave: true });
    await listen(dan, 'room:1');
    await until(() => feed.joins.length === 4, 'all have come');
    quiet.subscription.unsubscribe();
    carl.centrifuge.disconnect();
    dan.centrifuge._config.minReconnectDelay = dan.centrifuge._config.maxReconnectDelay = 60000;
    dan.centrifuge._transport._transport.terminate();
    await until(() => feed.leaves.length === 3, 'all have gone');
    assert.deepEqual(feed.leaves.map((info) => info.user).sort(), ['bob', 'carl', 'dan']);
    assert.deepEqual(feed.leaves.map((info) => info.client).sort(), [bob.id, carl.id, dan.id].sort());
    assert.equal(feed.joins.length, 4);
    assert.deepEqual(quiet.order, ['subscribed']);

    // Here and gone again many times: each join has its leave.
    for (let i = 0; i < 20; i++) {
      quiet.subscription.subscribe();
      await until(() => quiet.subscription.state === 'subscribed', 'bob is back');
      quiet.subscription.unsubscribe();
    }
    await until(() => feed.leaves.length === 23, 'bob has gone each time');
    assert.equal(feed.joins.length, 24);
    const bobs = feed.order.filter((word) => word.endsWith(' bob'));
    bobs.forEach((word, i) => assert.equal(word, i % 2 === 0 ? 'join bob' : 'leave bob'));
  });

  test(`who comes and goes in one breath is told in order, on ${shards} shards`, async (t) => {
    const gateway = await start(t, shards);
    const ann = await gateway.connect('ann');
    const feed = await listen(ann, 'loud:breath');
    const peers = await Promise.all(['bob', 'carl', 'dan'].map((user) => openAs(gateway, user)));
    t.after(() => peers.forEach((peer) => peer.socket.terminate()));
    for (const peer of peers) {
      for (let id = 10; id < 110; id += 2)
        peer.send({ id, subscribe: { channel: 'loud:breath' } }, { id: id + 1, unsubscribe: { channel: 'loud:breath' } });
      peer.send({ id: 110, subscribe: { channel: 'loud:breath' } });
    }
    for (const peer of peers) assert.ok((await peer.reply(110)).subscribe);
    assert.deepEqual(await ann.centrifuge.presenceStats('loud:breath'), { numClients: 4, numUsers: 4 });
    peers.forEach((peer) => peer.send({ id: 111, unsubscribe: { channel: 'loud:breath' } }));
    const wordsOf = (user) => feed.order.filter((word) => word.endsWith(` ${user}`));
    await until(() => feed.joins.length > 3 && feed.joins.length === feed.leaves.length + 1, 'all have gone');
    for (const user of ['bob', 'carl', 'dan'])
      wordsOf(user).forEach((word, i) => assert.equal(word, `${i % 2 === 0 ? 'join' : 'leave'} ${user}`));
  });

  test(`who hears of joins, on ${shards} shards`, async (t) => {
    const gateway = await start(t, shards);
    const ann = await gateway.connect('ann');
    const loud = await listen(ann, 'loud:1'); // forced
    const mute = await listen(ann, 'mute:1', { joinLeave: true }); // the namespace tells nobody
    const told = await listen(ann, 'told:1', { joinLeave: true }); // told, and not listed
    const bob = await gateway.connect('bob');
    await listen(bob, 'loud:1');
    await listen(bob, 'mute:1');
    await listen(bob, 'told:1');
    bob.centrifuge.disconnect();
    await until(() => loud.leaves.length === 1 && told.leaves.length === 1, 'bob was told to go');
    assert.deepEqual(loud.order, ['subscribed', 'join ann', 'join bob', 'leave bob']);
    assert.deepEqual(told.order, ['subscribed', 'join ann', 'join bob', 'leave bob']);
    assert.deepEqual(mute.order, ['subscribed']);
    assert.equal(await code(ann.centrifuge.presence('told:1')), 108);
  });

  test(`at, below and above the limit, on ${shards} shards`, async (t) => {
    const gateway = await start(t, shards);
    const watcher = await gateway.connect('watcher');
    const feed = await listen(watcher, 'loud:2');
    const crowd = [];
    const come = async (i) => {
      crowd.push(await gateway.connect(`user${i % 3}`));
      crowd.at(-1).feed = await listen(crowd.at(-1), 'loud:2');
    };
    for (let i = 1; i < MOST; i++) await come(i);
    assert.equal(Object.keys((await watcher.centrifuge.presence('loud:2')).clients).length, MOST);
    await until(() => feed.joins.length === MOST, 'all joins are there');

    await come(MOST);
    const error = await watcher.centrifuge.presence('loud:2').catch((e) => e);
    assert.equal(error.code, 1003);
    assert.equal(error.message, 'presence too big');
    assert.deepEqual(await watcher.centrifuge.presenceStats('loud:2'), { numClients: MOST + 1, numUsers: 4 });
    assert.equal(feed.joins.length, MOST); // the last one is not told

    crowd.pop().centrifuge.disconnect(); // nor that it goes
    await until(async () => await code(watcher.centrifuge.presence('loud:2')) === 0, 'listed again');
    crowd.pop().centrifuge.disconnect();
    await until(() => feed.leaves.length === 1, 'told again');
    await come(MOST + 1);
    await until(() => feed.joins.length === MOST + 1, 'joins are told again');
    assert.equal(feed.leaves.length, 1);
  });

  test(`who may ask, on ${shards} shards`, async (t) => {
    const gateway = await start(t, shards);
    const { centrifuge } = await gateway.connect('ann');
    const both = async (channel) => {
      const codes = [await code(centrifuge.presence(channel)), await code(centrifuge.presenceStats(channel))];
      assert.equal(codes[0], codes[1]);
      return codes[0];
    };
    assert.equal(await both('unknown:1'), 102);
    assert.equal(await both('room:é'), 107);
    assert.equal(await both(`room:${'x'.repeat(260)}`), 107);
    assert.equal(await both('none:1'), 108);
    assert.equal(await both('shut:1'), 103);
    assert.equal(await both('room:1'), 103); // subscribers only
    assert.equal(await both('open:1'), 0);
    await subscribe({ centrifuge, user: 'ann' }, 'room:1');
    assert.equal(await both('room:1'), 0);
    // Without a user, even where clients may.
    const nobody = await connect(gateway, '', { token: '' });
    t.after(() => nobody.centrifuge.disconnect());
    assert.equal(await code(nobody.centrifuge.presence('open:1')), 103);
    assert.equal(await code(nobody.centrifuge.presence('none:1')), 108);
  });
}
