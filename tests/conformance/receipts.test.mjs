// Who has read what, as devices see it: official SDK clients, on 1 and 4 shards and on three
// gateways over one Redis Cluster.
import assert from 'node:assert/strict';
import test from 'node:test';
import { connect, range, subscribe } from './client.mjs';
import { Gateway, KEY, SECRET, until } from './gateway.mjs';
import { RedisCluster } from './redis_cluster.mjs';

const CHAT = { history_size: 1000, history_ttl: '1h', allow_subscribe_for_client: true, allow_publish_for_client: true };
const NAMESPACES = [{ name: 'chat', ...CHAT }, { name: 'mine', ...CHAT, receipts: 'sender' },
  { name: 'number', ...CHAT, receipts: 'count' }, { name: 'quiet', ...CHAT, receipts: 'off' },
  { name: 'club', history_size: 100, history_ttl: '1h', members_only: true, presence: true }];
const config = (more = {}) => ({ channel: { namespaces: NAMESPACES }, client: { token: { hmac_secret_key: SECRET } },
  http_api: { key: KEY }, ...more });
const refused = (call, code) => assert.rejects(call, (error) => error.code === code, `wants ${code}`);

/** A device: its SDK client, what it hears of its own user's other devices, and what a
 *  screen shows of a channel: counts under the messages, and names. */
async function device(t, gateway, user, options) {
  const client = await connect(gateway, user, options);
  t.after(() => client.centrifuge.disconnect());
  const self = { client, user, own: [], heard: [], rpc: async (method, data) => (await client.centrifuge.rpc(method, data)).data };
  client.centrifuge.on('message', ({ data }) => {
    const value = data instanceof Uint8Array ? JSON.parse(new TextDecoder().decode(data)) : data;
    self.own.push(value.receipt);
  });
  self.watch = async (channel) => {
    const feed = await subscribe(client, `receipts:${channel}`);
    self.heard = feed.publications;
    self.feed = feed;
  };
  /** Readers of `offset` as the moves tell them. */
  self.readers = (offset, sender) => [...new Set(self.heard.flatMap(({ data }) => data.moves ?? [])
    .filter((move) => move.from < offset && offset <= move.to && move.user !== sender).map((move) => move.user))].sort();
  return self;
}

async function chat(t, gateways, channel) {
  const [one, two, three] = [0, 1, 2].map((at) => gateways[at % gateways.length]);
  await one.ask('members_set', { channel, members: ['ann', 'bob', 'cid'] });
  const phone = await device(t, one, 'ann'), desk = await device(t, two, 'ann', { wire: 'protobuf' });
  const bob = await device(t, three, 'bob'), cid = await device(t, two, 'cid');
  for (const each of [phone, bob, cid]) await each.watch(channel);

  const sent = [];
  for (const n of range(1, 3)) sent.push(await bob.rpc('message.send', { channel, data: { n }, key: `k${n}` }));
  assert.deepEqual(sent.map(({ offset }) => offset), [1, 2, 3]);
  for (const { offset, epoch, id, time } of sent) {
    assert.equal(id, `${epoch}-${offset}`);
    assert.ok(Math.abs(time - Date.now()) < 600000);
  }
  assert.deepEqual(await bob.rpc('message.send', { channel, data: { n: 2 }, key: 'k2' }), sent[1]);
  const caught = () => until(async () => (await cid.rpc('receipt.unread', { channels: [channel] })).channels[channel].head === 3, 'all came');
  await caught();

  await t.test('one reads: names move live, and the other device is told', async () => {
    assert.deepEqual(await phone.rpc('receipt.read', { channel, offset: 2 }), { offset: 2 });
    for (const each of [phone, bob, cid]) {
      await until(() => each.readers(2, 'bob').includes('ann'), `${each.user} sees it`);
      assert.deepEqual([1, 2, 3].map((offset) => each.readers(offset, 'bob')), [['ann'], ['ann'], []]);
    }
    await until(() => desk.own.length > 0, 'the desk hears');
    const { epoch } = sent[0];
    assert.deepEqual(desk.own[0], { channel, epoch, head: 3, read: 2, delivered: 2, unread: 1, first_unread: 3 });
    assert.equal(phone.own.length, 0); // it knows
    assert.deepEqual((await desk.rpc('receipt.unread', { channels: [channel] })).channels[channel], {
      epoch, head: 3, read: 2, delivered: 2, unread: 1, first_unread: 3 });
    await until(async () => (await cid.rpc('receipt.counts', { channel, offsets: [1] })).counts[0] === 1, 'it counts');
    assert.deepEqual(await cid.rpc('receipt.counts', { channel, offsets: [3, 2, 1] }), { counts: [0, 1, 1], eligible: [2, 2, 2] });
    const names = async (method, offset) => (await bob.rpc(method, { channel, offset })).users.map(({ user }) => user);
    await until(async () => (await names('receipt.readers', 2)).length > 0, 'it is listed');
    assert.deepEqual(await names('receipt.readers', 2), ['ann']);
    assert.deepEqual(await names('receipt.nonreaders', 2), ['cid']);
  });

  await t.test('offsets are of counts alone', async () => {
    const most = range(1, 100), many = range(1, 5000);
    for (const offsets of [[], [0], [2 ** 53], most, many]) {
      assert.deepEqual(await phone.rpc('receipt.read', { channel, offset: 2, offsets }), { offset: 2 });
      assert.deepEqual((await bob.rpc('receipt.readers', { channel, offset: 2, offsets })).users.map(({ user }) => user), ['ann']);
    }
    await refused(bob.rpc('receipt.counts', { channel, offset: 2, offsets: many }), 106);
    await refused(bob.rpc('receipt.counts', { channel, offset: 2 }), 107);
    assert.deepEqual((await bob.rpc('receipt.counts', { channel, offset: 9, offsets: most.fill(1) })).counts, most.fill(1));
  });

  await t.test('a cursor stops at the head and never goes back', async () => {
    assert.deepEqual(await desk.rpc('receipt.read', { channel, offset: 999 }), { offset: 3 });
    await until(() => phone.own.length > 0, 'the phone hears');
    assert.deepEqual([phone.own[0].read, phone.own[0].unread, phone.own[0].first_unread], [3, 0, undefined]);
    await until(async () => (await phone.rpc('receipt.read', { channel, offset: 1 })).offset === 3, 'it stays');
  });

  await t.test('who joins late changes nothing before it joined', async () => {
    await three.ask('members_set', { channel, members: ['ann', 'bob', 'cid', 'dan'] });
    const dan = await device(t, one, 'dan');
    const state = async () => (await dan.rpc('receipt.unread', { channels: [channel, 'chat:other', 'none:x'] })).channels;
    await until(async () => (await state())[channel].head === 3, 'dan belongs to it');
    const { [channel]: mine, 'chat:other': other, 'none:x': none } = await state();
    assert.deepEqual([mine.unread, mine.read], [0, 3]);
    assert.deepEqual([other.error.code, none.error.code], [103, 102]);
    assert.deepEqual(await dan.rpc('receipt.counts', { channel, offsets: [1, 3] }), { counts: [1, 1], eligible: [2, 2] });
    assert.equal((await cid.rpc('message.send', { channel, data: 4 })).offset, 4);
    await until(async () => (await state())[channel].unread === 1, 'dan has it to read');
    assert.deepEqual(await dan.rpc('receipt.counts', { channel, offsets: [3, 4] }), { counts: [2, 0], eligible: [2, 3] });
    // Sending reads what came before, on every device.
    await until(() => bob.readers(3, 'bob').includes('cid'), 'bob sees that cid has read');
    assert.deepEqual((await cid.rpc('receipt.unread', { channels: [channel] })).channels[channel].unread, 0);
  });

  await t.test('strangers and mistakes change nothing', async () => {
    const eve = await device(t, two, 'eve');
    await refused(eve.rpc('receipt.read', { channel, offset: 1 }), 103);
    await refused(eve.rpc('receipt.counts', { channel, offsets: [1] }), 103);
    await refused(eve.rpc('receipt.readers', { channel, offset: 1 }), 103);
    const feed = eve.client.centrifuge.newSubscription(`receipts:${channel}`);
    const unsubscribed = new Promise((done) => feed.on('unsubscribed', done));
    feed.subscribe();
    assert.equal((await unsubscribed).code, 103);
    await refused(bob.rpc('receipt.counts', { channel, offsets: [99] }), 107);
    await refused(bob.rpc('receipt.counts', { channel, offsets: range(1, 101) }), 106);
    await refused(bob.rpc('receipt.counts', { channel, offsets: [0] }), 107);
    await refused(bob.rpc('receipt.read', { channel }), 107);
    await refused(bob.rpc('receipt.read', { channel: 'none:x', offset: 1 }), 102);
    await refused(bob.client.centrifuge.publish(`receipts:${channel}`, 1), 103);
    await refused(bob.rpc('receipt.shout', { channel }), 104);
    assert.deepEqual(await bob.rpc('receipt.counts', { channel, offsets: [1] }), { counts: [2], eligible: [2] });
  });

  await t.test('who leaves is out of counts and hears no more', async () => {
    await two.ask('members_set', { channel, members: ['ann', 'bob', 'dan'] });
    await until(() => cid.feed.subscription.state === 'unsubscribed', 'cid hears no more');
    await until(async () => (await bob.rpc('receipt.counts', { channel, offsets: [1] })).eligible[0] === 1, 'cid is out');
    assert.deepEqual(await bob.rpc('receipt.counts', { channel, offsets: [1] }), { counts: [1], eligible: [1] });
    await refused(cid.rpc('receipt.view', { channel }), 103);
  });

  await t.test("a channel's own policy is in force everywhere at once", async () => {
    const now = (gateway) => gateway.ask('receipts_policy', { channel });
    const everywhere = (policy) => until(async () => (await Promise.all(gateways.map(now)))
      .every(({ receipts }) => receipts === policy), `${policy} is known`);
    const list = (who) => who.rpc('receipt.readers', { channel, offset: 1 });
    assert.deepEqual(await now(one), { receipts: 'all', receipts_opt_out: true, own: {} });
    await three.ask('receipts_policy_set', { channel, receipts: 'count', receipts_opt_out: false });
    await everywhere('count');
    assert.deepEqual(await now(two), { receipts: 'count', receipts_opt_out: false, own: { receipts: 'count', receipts_opt_out: false } });
    for (const each of [phone, bob])
      await until(() => each.heard.some(({ data }) => data.policy === 'count'), `${each.user} is told`);
    const before = phone.heard.length;
    assert.deepEqual(await bob.rpc('receipt.read', { channel, offset: 4 }), { offset: 4 });
    await until(() => phone.heard.slice(before).some(({ data }) => data.counts?.some(({ offset }) => offset === 4)), 'counts are told');
    assert.ok(phone.heard.slice(before).every(({ data }) => !data.moves));
    await refused(list(bob), 1005);
    await refused(bob.rpc('receipt.hide', { channel, hidden: true }), 1005);
    assert.deepEqual((await bob.rpc('receipt.counts', { channel, offsets: [1] })).counts, [1]);
    await two.ask('receipts_policy_set', { channel, receipts: 'off' });
    await everywhere('off');
    await refused(bob.rpc('receipt.counts', { channel, offsets: [1] }), 1005);
    await one.ask('receipts_policy_set', { channel, receipts: 'sender' });
    await everywhere('sender');
    assert.deepEqual((await list(bob)).users.map(({ user }) => user), ['ann']);
    await refused(list(phone), 103);
    await one.ask('receipts_policy_set', { channel });
    await everywhere('all');
    assert.deepEqual((await list(phone)).users.map(({ user }) => user), ['ann']);
    await assert.rejects(one.ask('receipts_policy_set', { channel, receipts: 'loud' }));
    await assert.rejects(one.ask('receipts_policy_set', { channel: 'none:x', receipts: 'off' }));
    assert.deepEqual((await now(one)).own, {});
  });

  await t.test('a digest of one gateway is one of all', async () => {
    const first = await until(async () => {
      const digest = await phone.rpc('receipt.digest', {});
      return digest.channels.length === 1 && digest.channels[0].head === 4 && digest;
    }, 'the channel is listed');
    assert.equal(first.channels[0].unread, 1);
    await until(async () => (await desk.rpc('receipt.digest', { version: first.version })).channels.length === 0, 'nothing is new');
    await desk.rpc('receipt.view', { channel });
    const { channels } = await until(async () => {
      const digest = await phone.rpc('receipt.digest', { version: first.version });
      return digest.channels.length === 1 && digest;
    }, 'it went to zero');
    assert.deepEqual([channels[0].channel, channels[0].unread], [channel, 0]);
  });
}

for (const shards of [1, 4]) {
  test(`receipts on ${shards} shards`, async (t) => {
    const gateway = await new Gateway({ shards, config: config() }).start();
    t.after(() => gateway.end());
    await chat(t, [gateway], 'chat:room');
  });
}

test('receipts over three gateways and a Redis Cluster', async (t) => {
  const redis = await new RedisCluster().start();
  t.after(() => redis.end());
  const gateways = [1, 2, 1].map((shards) => new Gateway({ shards, config: config({ storage: { engine: 'redis' }, redis: redis.options }) }));
  t.after(async () => { for (const gateway of gateways) await gateway.end(); });
  await Promise.all(gateways.map((gateway) => gateway.start()));
  await chat(t, gateways, 'chat:room');
});

test('policies and large groups', async (t) => {
  const gateway = await new Gateway({ config: config() }).start();
  t.after(() => gateway.end());
  const users = (count) => ['ann', 'bob', ...range(2, count - 1).map((n) => `user${n}`)];

  await t.test('names are for the sender, or for nobody', async () => {
    for (const channel of ['mine:a', 'number:a', 'quiet:a'])
      await gateway.ask('members_set', { channel, members: ['ann', 'bob', 'cid'] });
    const ann = await device(t, gateway, 'ann'), bob = await device(t, gateway, 'bob');
    for (const channel of ['mine:a', 'number:a', 'quiet:a']) {
      await ann.rpc('message.send', { channel, data: 1 });
      assert.deepEqual(await bob.rpc('receipt.view', { channel }), { offset: 1 });
    }
    const list = (who, channel) => who.rpc('receipt.readers', { channel, offset: 1 });
    assert.deepEqual((await list(ann, 'mine:a')).users.map(({ user }) => user), ['bob']);
    await refused(list(bob, 'mine:a'), 103);
    await refused(list(ann, 'number:a'), 1005);
    await refused(list(ann, 'quiet:a'), 1005);
    assert.deepEqual((await ann.rpc('receipt.counts', { channel: 'number:a', offsets: [1] })).counts, [1]);
    await refused(ann.rpc('receipt.counts', { channel: 'quiet:a', offsets: [1] }), 1005);
  });

  await t.test('a group degrades as it grows', async () => {
    const ann = await device(t, gateway, 'ann'), bob = await device(t, gateway, 'bob');
    const channel = 'chat:large';
    const told = async (count) => {
      await gateway.ask('members_set', { channel, members: users(count) });
      if (!ann.feed) await ann.watch(channel);
      const { offset } = await ann.rpc('message.send', { channel, data: count });
      const before = ann.heard.length;
      await bob.rpc('receipt.read', { channel, offset });
      return { offset, news: () => ann.heard.slice(before).map(({ data }) => data) };
    };
    const some = await told(100);
    await until(() => some.news().some((data) => data.moves?.some((move) => move.user === 'bob' && move.to === some.offset)), 'names are told');
    const many = await told(2000);
    await until(() => many.news().some((data) => data.counts?.some((count) => count.offset === many.offset && count.readers === 1)), 'counts are told');
    assert.ok(many.news().every((data) => data.moves === undefined));
    const huge = await told(2500);
    assert.deepEqual(await ann.rpc('receipt.counts', { channel, offsets: [huge.offset] }), { counts: [1], eligible: [2499] });
    await refused(ann.rpc('receipt.readers', { channel, offset: huge.offset }), 1002);
    assert.ok(huge.news().every((data) => data.moves === undefined && !data.counts?.some((count) => count.offset === huge.offset)));
    // Pages, just below the limit.
    await gateway.ask('members_set', { channel, members: users(120) });
    const seen = [];
    for (let after = 0; after !== undefined;) {
      const page = await ann.rpc('receipt.nonreaders', { channel, offset: huge.offset, ...after ? { after } : {} });
      assert.ok(page.users.length <= 50);
      seen.push(...page.users.map(({ user }) => user));
      after = page.next;
    }
    assert.deepEqual(seen.sort(), users(120).slice(2).sort());
  });

  await t.test('members only', async () => {
    await gateway.ask('members_set', { channel: 'club:a', members: ['ann'] });
    const ann = await device(t, gateway, 'ann'), eve = await device(t, gateway, 'eve');
    const feed = await subscribe(ann.client, 'club:a');
    assert.equal((await ann.rpc('message.send', { channel: 'club:a', data: 1 })).offset, 1);
    await until(() => feed.publications.length === 1, 'ann hears it');
    await refused(eve.rpc('message.send', { channel: 'club:a', data: 1 }), 103);
    await refused(eve.client.centrifuge.publish('club:a', 1), 103);
    await refused(eve.client.centrifuge.history('club:a', { limit: 1 }), 103);
    await refused(eve.client.centrifuge.presence('club:a'), 103);
    await refused(eve.client.centrifuge.presenceStats('club:a'), 103);
    assert.deepEqual(Object.values((await feed.subscription.presence()).clients).map(({ user }) => user), ['ann']);
    assert.equal((await ann.client.centrifuge.presenceStats('club:a')).numUsers, 1);
    await gateway.ask('members_set', { channel: 'club:a', members: ['eve'] });
    await until(() => feed.subscription.state === 'unsubscribed', 'ann hears no more');
    await refused(ann.rpc('message.send', { channel: 'club:a', data: 2 }), 103);
    await refused(ann.client.centrifuge.presence('club:a'), 103);
  });
});

test('delivered, marked, hidden, and the digest', async (t) => {
  const gateway = await new Gateway({ config: config() }).start();
  t.after(() => gateway.end());
  const members = ['ann', 'bob', 'cid'], channels = ['chat:a', 'chat:b', 'chat:c'];
  for (const channel of channels) await gateway.ask('members_set', { channel, members });
  const ann = await device(t, gateway, 'ann'), bob = await device(t, gateway, 'bob');
  const send = (channel) => ann.rpc('message.send', { channel, data: 1 });
  const state = async (who, channel) => (await who.rpc('receipt.unread', { channels: [channel] })).channels[channel];

  await t.test('delivered comes before read, with times', async () => {
    const channel = 'chat:a', from = Date.now() - 1000;
    await ann.watch(channel);
    for (let n = 0; n < 3; n++) await send(channel);
    assert.deepEqual(await bob.rpc('receipt.delivered', { channel, offset: 3 }), { offset: 3 });
    await until(() => ann.heard.some(({ data }) => data.delivered?.[0].user === 'bob' && data.delivered[0].to === 3), 'it is told');
    const { read, delivered, unread } = await state(bob, channel);
    assert.deepEqual([read, delivered, unread], [0, 3, 3]);
    const others = await ann.rpc('receipt.nonreaders', { channel, offset: 2 });
    assert.equal(others.times, true);
    assert.deepEqual(others.users.map(({ user, read_at, delivered_at }) => [user, read_at === undefined, delivered_at > from]),
      [['bob', true, true], ['cid', true, false]]);
    await bob.rpc('receipt.read', { channel, offset: 2 });
    const { users: [reader] } = await ann.rpc('receipt.readers', { channel, offset: 2 });
    assert.ok(reader.read_at >= reader.delivered_at && reader.read_at < Date.now() + 1000);
  });

  await t.test('a mark of unread is for oneself, and goes with reading', async () => {
    const channel = 'chat:a', desk = await device(t, gateway, 'bob');
    assert.deepEqual(await bob.rpc('receipt.mark_unread', { channel, offset: 1 }), { offset: 1 });
    await until(() => desk.own.length > 0, 'the desk hears');
    assert.deepEqual([desk.own[0].read, desk.own[0].unread, desk.own[0].first_unread], [2, 3, 1]);
    await until(async () => (await state(bob, channel)).unread === 3, 'it counts again');
    assert.deepEqual(await ann.rpc('receipt.counts', { channel, offsets: [1] }), { counts: [1], eligible: [2] });
    assert.deepEqual(await bob.rpc('receipt.read', { channel, offset: 2 }), { offset: 2 });
    await until(async () => (await state(bob, channel)).unread === 1, 'the mark is gone');
    await refused(bob.rpc('receipt.mark_unread', { channel, offset: 99 }), 107);
  });

  await t.test('who hides stands in no count, and reads for itself', async () => {
    const channel = 'chat:a', counts = () => ann.rpc('receipt.counts', { channel, offsets: [2] });
    assert.deepEqual(await bob.rpc('receipt.hide', { channel, hidden: true }), {});
    await until(async () => (await counts()).eligible[0] === 1, 'bob is hidden');
    assert.deepEqual(await counts(), { counts: [0], eligible: [1] });
    const before = ann.heard.length;
    assert.deepEqual(await bob.rpc('receipt.view', { channel }), { offset: 3 });
    assert.equal((await state(bob, channel)).unread, 0);
    await bob.rpc('receipt.hide', { channel, hidden: false });
    await until(async () => (await counts()).counts[0] === 1, 'bob is back');
    assert.ok(ann.heard.slice(before).every(({ data }) => !data.moves), 'nobody was told');
    await refused(bob.rpc('receipt.hide', { channel }), 107);
  });

  await t.test('a digest tells what is new since the last one', async () => {
    const names = (digest) => digest.channels.map(({ channel }) => channel).sort();
    await send('chat:b');
    // What was recorded a moment ago may not be listed yet.
    const first = await until(async () => {
      const digest = await bob.rpc('receipt.digest', {});
      return digest.channels.length === 3 && digest;
    }, 'all three are listed');
    assert.deepEqual(names(first), channels);
    assert.equal(first.channels.find(({ channel }) => channel === 'chat:b').unread, 1);
    assert.deepEqual((await bob.rpc('receipt.digest', { version: first.version })).channels, []);
    await send('chat:c');
    await bob.rpc('receipt.view', { channel: 'chat:b' }); // which goes to zero
    let told;
    const back = await connect(gateway, 'bob', { data: { digest: first.version } });
    t.after(() => back.centrifuge.disconnect());
    back.centrifuge.on('connected', ({ data }) => { told = data; });
    back.centrifuge.disconnect();
    back.centrifuge.connect();
    await until(() => told, 'the reply brings one');
    const { digest } = told;
    assert.deepEqual(names(digest).filter((name) => name !== 'chat:a'), ['chat:b', 'chat:c']);
    assert.deepEqual(digest.channels.map(({ channel, unread }) => [channel, unread]).filter(([name]) => name !== 'chat:a').sort(),
      [['chat:b', 0], ['chat:c', 1]]);
    assert.deepEqual((await bob.rpc('receipt.digest', { version: digest.version })).channels, []);
    await refused(bob.rpc('receipt.digest', { version: 'x' }), 107);
    // It outlives the gateway.
    for (const each of [ann.client, bob.client, back]) each.centrifuge.disconnect();
    await gateway.stop();
    await gateway.start({ shards: 3 });
    const later = await device(t, gateway, 'bob');
    assert.deepEqual((await later.rpc('receipt.digest', { version: digest.version })).channels, []);
  });
});
