// A backend drives users whose connections are spread over every shard: what it
// asks over kept-alive HTTP is seen on each connection of the user, in both wires,
// and on no other.
import assert from 'node:assert/strict';
import test from 'node:test';
import { range } from './client.mjs';
import { Gateway, KEY, SECRET, sleep, token, until } from './gateway.mjs';
import { open, random } from './peer.mjs';

const SHARDS = 4, EACH = 2; // connections of a user on each shard
const WIRES = ['json', 'protobuf'];
const KEPT = { history_size: 100, history_ttl: '300s' };
const NAMESPACES = [
  { name: 'chat', ...KEPT, force_recovery: true, allow_subscribe_for_client: true },
  { name: 'room', presence: true, join_leave: true, allow_subscribe_for_client: true, allow_presence_for_client: true },
  { name: 'shut', ...KEPT, presence: true },
];

/** A connection of `user`, connected or ended; it notes pushes by kind and channel. */
async function come(gateway, user, wire, { claims, fields } = {}) {
  const peer = open(gateway, { wire });
  await peer.ready;
  peer.user = user;
  peer.send({ id: 1, connect: { token: token({ sub: user, ...claims }), ...fields } });
  await until(() => peer.closed || peer.messages.some((message) => message.id === 1), 'connect was answered');
  peer.client = peer.messages.find((message) => message.id === 1)?.connect?.client ?? null;
  peer.seen = (kind, channel) => peer.messages.filter(({ push }) => push?.[kind] && push.channel === channel).map(({ push }) => push[kind]);
  peer.data = (channel) => peer.seen('pub', channel).map((pub) => pub.data);
  peer.ask = async (command) => {
    peer.asked = (peer.asked ?? 1) + 1;
    peer.send({ id: peer.asked, ...command });
    return peer.reply(peer.asked);
  };
  return peer;
}

async function shardOf(gateway, { client }) {
  const line = new RegExp(`client connected client=${client} .*shard=(\\d+)`);
  return Number((await until(() => line.exec(gateway.log), 'the log names the shard'))[1]);
}

/** EACH connections of `user` on every shard, half of them on each wire. */
async function fleet(gateway, user, options) {
  const kept = [], room = Array(SHARDS).fill(EACH);
  for (let n = 0; room.some((left) => left > 0); n++) {
    assert.ok(n < 500, 'the kernel spreads connections over the shards');
    const peer = await come(gateway, user, WIRES[n % 2], options);
    peer.shard = await shardOf(gateway, peer);
    if (room[peer.shard] > 0) {
      room[peer.shard]--;
      kept.push(peer);
    } else {
      peer.socket.terminate();
    }
  }
  return kept;
}

/** Users with a fleet each, counted by info: as many on each shard. */
async function start(t, users, client = {}, shards = SHARDS) {
  const gateway = new Gateway({ shards });
  gateway.options.config = { channel: { namespaces: NAMESPACES }, storage: { engine: 'memory' },
    client: { token: { hmac_secret_key: SECRET }, allowed_origins: ['*'], ...client } };
  t.after(() => gateway.end());
  await gateway.start();
  return { gateway, fleets: await Promise.all(users.map((user) => fleet(gateway, user))) };
}
const all = (peers, probe, what) => until(() => peers.every(probe), what);
const counts = async (gateway, name) => (await gateway.ask('info', {})).nodes[0].shards.map((shard) => shard[name]);
const closed = (peers) => Promise.all(peers.map(async (peer) => { await peer.end(); return `${peer.closed.code} ${peer.closed.reason}`; }));

test('on every connection of the user, on every shard', async (t) => {
  const { gateway, fleets: [ann, bob] } = await start(t, ['ann', 'bob']);
  const both = [...ann, ...bob];

  await t.test('info counts them where the log says they are', async () => {
    await until(async () => (await counts(gateway, 'num_clients')).join() === range(1, SHARDS).map(() => 2 * EACH).join(),
      'each shard has its connections and no other');
    const [node] = (await gateway.ask('info', {})).nodes;
    assert.equal(node.num_users, 2);
    assert.equal(node.num_clients, both.length);
    assert.deepEqual(node.shards.map(({ index }) => index), range(0, SHARDS - 1));
    assert.deepEqual(new Set(ann.map(({ shard }) => shard)), new Set(range(0, SHARDS - 1)));
  });

  await t.test('one connection of the backend is kept alive through all of it', async () => {
    const sockets = new Set();
    gateway.agent.on('free', (socket) => sockets.add(socket));
    for (let n = 0; n < 20; n++) await gateway.ask('info', {});
    assert.equal(sockets.size, 1);
  });

  await t.test('subscribe: pushed with data, info and position', async () => {
    await gateway.ask('publish', { channel: 'shut:ann', data: 'before' });
    await gateway.ask('subscribe', { user: 'ann', channel: 'shut:ann', data: { by: 'API' }, info: { seat: 1 },
      override: { force_recovery: { value: true } } });
    const { epoch } = await gateway.ask('history', { channel: 'shut:ann' });
    for (const peer of ann) {
      const [push] = await until(() => peer.seen('subscribe', 'shut:ann')[0] && peer.seen('subscribe', 'shut:ann'), 'the push');
      assert.deepEqual(push, { recoverable: true, epoch, offset: 1, positioned: true, data: { by: 'API' } });
    }
    const { presence } = await gateway.ask('presence', { channel: 'shut:ann' });
    assert.deepEqual(Object.keys(presence).sort(), ann.map(({ client }) => client).sort());
    for (const info of Object.values(presence)) assert.deepEqual(info.chan_info, { seat: 1 });
    assert.deepEqual(await gateway.ask('presence_stats', { channel: 'shut:ann' }), { num_clients: ann.length, num_users: 1 });
    assert.deepEqual(await counts(gateway, 'num_subs'), range(1, SHARDS).map(() => EACH));
  });

  await t.test('subscribe from a position: what was missed comes with it', async () => {
    for (let n = 1; n <= 3; n++) await gateway.ask('publish', { channel: 'shut:since', data: n });
    const { epoch } = await gateway.ask('history', { channel: 'shut:since' });
    const [one] = bob;
    await gateway.ask('subscribe', { user: 'bob', client: one.client, channel: 'shut:since', recover_since: { offset: 1, epoch },
      override: { force_recovery: { value: true } } });
    await until(() => one.data('shut:since').length === 2, 'what was missed');
    assert.deepEqual(one.seen('pub', 'shut:since').map((pub) => [pub.offset, pub.data]), [[2, 2], [3, 3]]);
    assert.equal(one.seen('subscribe', 'shut:since').length, 1);
    await gateway.ask('unsubscribe', { user: 'bob', channel: 'shut:since' });
  });

  await t.test('publish and broadcast: each of them once, in order; on b64data too', async () => {
    for (const peer of both) assert.ok((await peer.ask({ subscribe: { channel: 'chat:all' } })).subscribe);
    for (let n = 0; n < 20; n++) await gateway.ask('publish', { channel: 'chat:all', data: n });
    const { responses } = await gateway.ask('broadcast', { channels: ['chat:all', 'shut:ann', 'nowhere:x'], data: 'to many' });
    assert.deepEqual(responses.map((response) => response.error?.code ?? response.result.offset), [21, 2, 102]);
    await gateway.ask('publish', { channel: 'chat:all', b64data: Buffer.from('{"b64":true}').toString('base64'), tags: { k: 'v' } });
    const { replies } = await gateway.api('batch', { parallel: true, commands: range(1, 20).map((n) => ({ publish: { channel: 'shut:ann', data: n } })) });
    assert.equal(replies.length, 20);
    await all(both, (peer) => peer.data('chat:all').length === 22, 'all came');
    await all(ann, (peer) => peer.data('shut:ann').length === 21, 'all came');
    for (const peer of both) assert.deepEqual(peer.data('chat:all'), [...range(0, 19), 'to many', { b64: true }]);
    for (const peer of ann) assert.deepEqual(peer.seen('pub', 'shut:ann').map((pub) => pub.offset), range(2, 22));
    for (const peer of bob) assert.deepEqual(peer.data('shut:ann'), []);
  });

  await t.test('who comes and goes is told to all of them', async () => {
    for (const peer of ann) assert.ok((await peer.ask({ subscribe: { channel: 'room:1', join_leave: true } })).subscribe);
    await gateway.ask('subscribe', { user: 'bob', channel: 'room:1' });
    await all(ann, (peer) => peer.seen('join', 'room:1').filter(({ info }) => info.user === 'bob').length === bob.length, 'all joins');
    await gateway.ask('unsubscribe', { user: 'bob', channel: 'room:1' });
    await all(ann, (peer) => peer.seen('leave', 'room:1').length === bob.length, 'all leaves');
    for (const peer of ann)
      assert.deepEqual(peer.seen('leave', 'room:1').map(({ info }) => info.client).sort(), bob.map(({ client }) => client).sort());
    for (const peer of bob) assert.deepEqual(peer.seen('unsubscribe', 'room:1'), [{ code: 2000, reason: 'server unsubscribe' }]);
    const { presence } = await gateway.ask('presence', { channel: 'room:1' });
    assert.deepEqual(Object.keys(presence).sort(), ann.map(({ client }) => client).sort());
  });

  await t.test('unsubscribe: one client, a channel, everything', async () => {
    const [one, ...others] = ann;
    await gateway.ask('unsubscribe', { user: 'ann', channel: 'shut:ann', client: one.client });
    await gateway.ask('unsubscribe', { user: 'ann', channel: 'shut:ann', client: bob[0].client });
    await gateway.ask('unsubscribe', { user: 'ann', channel: 'shut:ann', session: 'none' });
    await until(() => one.seen('unsubscribe', 'shut:ann').length === 1, 'one heard');
    await gateway.ask('publish', { channel: 'shut:ann', data: 'rest' });
    await all(others, (peer) => peer.data('shut:ann').at(-1) === 'rest', 'the others go on');
    assert.notEqual(one.data('shut:ann').at(-1), 'rest');
    await gateway.ask('unsubscribe', { user: 'ann' });
    for (const channel of ['shut:ann', 'chat:all', 'room:1'])
      await all(ann, (peer) => peer.seen('unsubscribe', channel).length === 1, 'each ended once');
    assert.deepEqual(await gateway.ask('channels', {}), { channels: { 'chat:all': { num_clients: bob.length } } });
    assert.deepEqual(await gateway.ask('presence', { channel: 'shut:ann' }), { presence: {} });
    const { error } = await ann[0].ask({ sub_refresh: { channel: 'chat:all', token: 'x' } });
    assert.equal(error.code, 103, 'not subscribed');
  });

  await t.test('refresh: of one that ends now, of all with another info', async () => {
    const soon = Math.floor(Date.now() / 1000) + 3600;
    await gateway.ask('refresh', { user: 'bob', expire_at: soon, info: { face: ':)' } });
    const [gone] = bob;
    await gateway.ask('refresh', { user: 'bob', client: gone.client, expired: true });
    assert.deepEqual(await closed([gone]), ['3005 connection expired']);
    await gateway.ask('subscribe', { user: 'bob', channel: 'room:2' });
    const { presence } = await gateway.ask('presence', { channel: 'room:2' });
    assert.equal(Object.keys(presence).length, bob.length - 1);
    for (const info of Object.values(presence)) assert.deepEqual(info.conn_info, { face: ':)' });
  });

  await t.test('disconnect: one, all but those of a list, all; nobody else', async () => {
    const [, one, ...rest] = bob;
    await gateway.ask('disconnect', { user: 'bob', client: one.client, disconnect: { code: 4100, reason: 'by the backend' } });
    assert.deepEqual(await closed([one]), ['4100 by the backend']);
    await gateway.ask('disconnect', { user: 'bob', client: ann[0].client });
    await gateway.ask('disconnect', { user: 'bob', session: 'none' });
    const spared = rest.filter((peer, n) => rest.findIndex(({ shard }) => shard === peer.shard) === n); // one a shard
    await gateway.ask('disconnect', { user: 'bob', whitelist: [...spared.map(({ client }) => client), 'none'] });
    const ended = rest.filter((peer) => !spared.includes(peer));
    assert.deepEqual(new Set(await closed(ended)), new Set(['3503 force disconnect']));
    assert.ok(spared.every((peer) => peer.closed === null));
    await until(async () => (await counts(gateway, 'num_clients')).reduce((sum, n) => sum + n) === ann.length + spared.length, 'they are gone');
    await gateway.ask('disconnect', { user: 'bob' });
    assert.deepEqual(new Set(await closed(spared)), new Set(['3503 force disconnect']));
    assert.ok(ann.every((peer) => peer.closed === null));
    assert.deepEqual(await gateway.ask('presence', { channel: 'room:2' }), { presence: {} });
    await until(async () => await gateway.metric('node_num_users') === 1, 'one user is left');
    assert.equal(await gateway.metric('node_num_user_sessions'), ann.length);
  });
});

test('a ban and connects that race it, from every shard', async (t) => {
  const { gateway } = await start(t, []);
  const below = random(11);
  let met = 0;
  for (let round = 0; round < 15; round++) {
    const user = `mob${round % 3}`;
    const waiting = await Promise.all(range(1, 16).map(async (n) => {
      const peer = open(gateway, { wire: WIRES[n % 2] });
      await peer.ready;
      return peer;
    }));
    const sent = waiting.map(async (peer) => {
      await sleep(below(4));
      peer.send({ id: 1, connect: { token: token({ sub: user, channels: ['shut:mob'] }) } }, { id: 2, subscribe: { channel: 'room:mob' } });
    });
    await sleep(below(4));
    const inside = waiting.filter((peer) => peer.messages.length > 0);
    await gateway.ask('disconnect', { user });
    await Promise.all(inside.map((peer) => peer.end()));
    await Promise.all(sent);
    await until(() => waiting.every((peer) => peer.closed || peer.messages.some(({ id }) => id === 2)), 'each has its answer');
    met += waiting.filter((peer) => peer.closed).length;
    // A second one meets whoever began later.
    await gateway.ask('disconnect', { user, disconnect: { code: 4501, reason: 'for good' } });
    for (const how of await closed(waiting)) assert.match(how, /^(3503 force disconnect|4501 for good)$/);
  }
  assert.ok(met > 0);
  await until(async () => await gateway.metric('node_num_user_sessions') + await gateway.metric('node_num_presence')
    + await gateway.metric('node_num_subscriptions') + await gateway.metric('node_num_clients') === 0, 'nothing is left');
});

test('client.user_connection_limit counts over all shards', async (t) => {
  const limit = SHARDS * EACH;
  const { gateway, fleets: [ann] } = await start(t, ['ann'], { user_connection_limit: limit + 1 });
  const last = await come(gateway, 'ann', 'protobuf');
  assert.notEqual(last.client, null);
  for (const wire of WIRES) assert.deepEqual(await closed([await come(gateway, 'ann', wire)]), ['3504 connection limit']);
  assert.notEqual((await come(gateway, 'bob', 'json')).client, null);
  // Each place that is given up on one shard is there for another.
  for (const peer of ann) {
    peer.socket.terminate();
    await until(async () => await gateway.metric('node_num_user_sessions') === limit + 1, 'it is gone'); // bob's too
    const next = await come(gateway, 'ann', 'json');
    assert.notEqual(next.client, null);
    assert.deepEqual(await closed([await come(gateway, 'ann', 'protobuf')]), ['3504 connection limit']);
  }
  assert.equal(await gateway.metric('node_user_connection_limit'), 2 + ann.length);
  await gateway.ask('disconnect', { user: 'ann' });
  await until(async () => await gateway.metric('node_num_user_sessions') === 1, 'all ended');
});

test('single_connection: the newest stays, wherever the others are', async (t) => {
  const { gateway } = await start(t, [], { subscribe_to_user_personal_channel:
    { enabled: true, personal_channel_namespace: 'chat', single_connection: true } });
  const shards = new Set();
  let last = null;
  for (let n = 0; n < 100 && (n < 12 || shards.size < SHARDS); n++) {
    const next = await come(gateway, 'ann', WIRES[n % 2]);
    shards.add(await shardOf(gateway, next));
    if (last) assert.deepEqual(await closed([last]), ['3504 connection limit']);
    last = next;
    await gateway.ask('publish', { channel: 'chat:#ann', data: n });
    await until(() => last.data('chat:#ann').length === 1, 'its own channel');
    assert.deepEqual(last.data('chat:#ann'), [n]);
  }
  assert.equal(shards.size, SHARDS);
  assert.deepEqual((await counts(gateway, 'num_clients')).reduce((sum, n) => sum + n), 1);
  // Many at once: one of them is left, and it is one that hears.
  const crowd = await Promise.all(range(1, 24).map((n) => come(gateway, 'ann', WIRES[n % 2])));
  await until(() => crowd.filter((peer) => peer.closed).length === crowd.length - 1, 'all but one ended');
  assert.deepEqual(await closed([last]), ['3504 connection limit']);
  const [stays] = crowd.filter((peer) => !peer.closed);
  await gateway.ask('publish', { channel: 'chat:#ann', data: 'to the one' });
  await until(() => stays.data('chat:#ann').includes('to the one'), 'it hears');
  assert.deepEqual(new Set(crowd.filter((peer) => peer.closed).map((peer) => peer.closed.code)), new Set([3504]));
});

test('a key is asked for on each request of a kept-alive connection', async (t) => {
  const { gateway } = await start(t, []);
  await gateway.ask('info', {});
  await assert.rejects(gateway.api('info', {}, { 'X-API-Key': `${KEY}x` }), /HTTP 401/);
  await assert.rejects(gateway.api('info', {}, {}), /HTTP 401/);
  assert.ok((await gateway.api('info', {}, { Authorization: `ApiKey ${KEY}` })).result);
});

// A pair of shards has 1,024 questions under way at most: here each has thousands to ask.
test('more channels than shards may ask each other about', async (t) => {
  const count = 400, crowd = 16;
  const { gateway } = await start(t, [], { channel_limit: count }, 2);
  const channels = range(1, count).map((n) => `shut:${n}`);
  const made = token({ sub: 'ann', channels });
  const quiet = () => until(async () => await gateway.metric('node_num_subscriptions') + await gateway.metric('node_num_presence')
    + await gateway.metric('node_num_hubs') + await gateway.metric('node_num_texts') === 0, 'nothing is left', 30000);
  const begin = async (n) => {
    const peer = open(gateway, { wire: WIRES[n % 2] });
    await peer.ready;
    peer.send({ id: 1, connect: { token: made } });
    return peer;
  };
  for (const end of [(peer) => peer.socket.terminate(), () => gateway.ask('disconnect', { user: 'ann' }), () => gateway.ask('unsubscribe', { user: 'ann' })]) {
    const peers = await Promise.all(range(1, crowd).map(begin));
    await sleep(2);
    await Promise.all(peers.filter((_, n) => n % 2 === 0).map(end));
    await Promise.all(peers.map((peer) => until(() => peer.closed || peer.messages.length > 0, 'an end or an answer', 30000)));
    for (const peer of peers) peer.socket.terminate();
    await quiet();
  }
  const peers = await Promise.all(range(1, 6).map(begin));
  for (const peer of peers) {
    const { connect } = await until(() => peer.messages[0], 'connect was answered', 30000);
    assert.equal(Object.keys(connect.subs).length, count);
  }
  assert.equal(await gateway.metric('node_num_presence'), count * peers.length);
  assert.deepEqual(await gateway.ask('presence_stats', { channel: 'shut:1' }), { num_clients: peers.length, num_users: 1 });
  for (const n of [1, 200, count]) await gateway.ask('publish', { channel: `shut:${n}`, data: n });
  await all(peers, (peer) => [1, 200, count].every((n) => peer.pushes(`shut:${n}`).length === 1), 'each has each');
  await gateway.ask('unsubscribe', { user: 'ann' });
  await all(peers, (peer) => peer.messages.filter(({ push }) => push?.unsubscribe).length === count, 'every one was told');
  assert.equal(await gateway.metric('node_num_subscriptions'), 0);
  await quiet();
});
