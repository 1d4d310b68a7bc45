// One message deleted by a backend: live, in a recovery, in the history, in receipts, after a
// kill, and over two gateways of one Redis; by official SDK clients.
import assert from 'node:assert/strict';
import test from 'node:test';
import { away, connect, offsets, range, subscribe, unpack } from './client.mjs';
import { Gateway, SECRET, until } from './gateway.mjs';
import { Redis } from './redis.mjs';

const KEPT = { history_size: 100, history_ttl: '1h', force_recovery: true, allow_history_for_client: true,
  allow_subscribe_for_client: true, allow_publish_for_client: true };
const config = (storage) => ({ channel: { namespaces: [{ name: 'chat', ...KEPT }, { name: 'none' }] },
  client: { token: { hmac_secret_key: SECRET } }, storage });
const GONE = { deleted: true };
const code = async (gateway, body) => (await gateway.api('message_delete', body)).error?.code;
const state = async (client, channel) => (await client.centrifuge.rpc('receipt.unread', { channels: [channel] })).data.channels[channel];

/** What every gateway says of the channel: data by offset. */
const history = async (gateway, channel) => {
  const { publications } = await gateway.ask('history', { channel, limit: -1 });
  assert.deepEqual(offsets(publications), range(1, publications.length));
  return publications.map(({ data }) => data);
};

async function story(t, gateways, channel, restart) {
  const one = gateways[0], two = gateways.at(-1);
  await one.ask('members_set', { channel, members: ['ann', 'bob'] });
  const ann = await connect(one, 'ann'), bob = await connect(two, 'bob', { wire: 'protobuf' });
  t.after(() => [ann, bob].forEach(({ centrifuge }) => centrifuge.disconnect()));
  const heard = await subscribe(ann, channel), other = await subscribe(bob, channel);
  const send = async (key) => (await ann.centrifuge.rpc('message.send', { channel, data: { text: key }, key })).data;
  const sent = [];
  for (const key of ['a', 'b', 'c', 'd']) sent.push(await send(key));
  const { epoch } = sent[0];
  await until(async () => (await state(bob, channel)).unread === 4, 'all four are new');

  await t.test('who listens hears of it, and it is nobody\'s to read', async () => {
    assert.deepEqual(await two.ask('message_delete', { channel, offset: 2, epoch }), {});
    for (const feed of [heard, other]) {
      await until(() => feed.publications.length === 5, 'it is told');
      const { data, tags, offset, info } = feed.publications[4];
      assert.deepEqual([offset, data, { ...tags }, info], [5, { deleted: 2 }, { system: 'true', deleted: '2' }, undefined]);
    }
    for (const gateway of gateways)
      await until(async () => (await history(gateway, channel))[1].deleted === true, 'everywhere');
    assert.deepEqual(await history(two, channel), [{ text: 'a' }, GONE, { text: 'c' }, { text: 'd' }, { deleted: 2 }]);
    const { publications } = await other.subscription.history({ limit: 10, since: { offset: 1, epoch } });
    assert.deepEqual([publications[0].offset, unpack(publications[0].data), { ...publications[0].tags }, publications[0].info],
      [2, GONE, { deleted: 'true' }, undefined]);
  });

  await t.test('its receipts are refused by name, and it is unread for nobody', async () => {
    const { head, unread, first_unread } = await until(async () => {
      const now = await state(bob, channel);
      return now.head === 5 && now;
    }, 'the head moves');
    assert.deepEqual([head, unread, first_unread], [5, 3, 1]);
    const ask = (method, body) => ann.centrifuge.rpc(method, { channel, ...body });
    for (const [method, body] of [['receipt.counts', { offsets: [2] }], ['receipt.readers', { offset: 2 }], ['receipt.nonreaders', { offset: 2 }]])
      await assert.rejects(ask(method, body), (error) => error.code === 1006);
    assert.deepEqual((await ask('receipt.counts', { offsets: [1, 3] })).data, { counts: [0, 0], eligible: [1, 1] });
    await bob.centrifuge.rpc('receipt.read', { channel, offset: 1 });
    await until(async () => (await state(bob, channel)).first_unread === 3, 'the next one is the third');
  });

  await t.test('asked again, and what cannot be', async () => {
    assert.deepEqual(await one.ask('message_delete', { channel, offset: 2 }), {});
    assert.deepEqual(await two.ask('message_delete', { channel, offset: 2, epoch }), {});
    assert.equal((await send('b')).id, sent[1].id); // its key has its answer still
    assert.equal((await one.ask('history', { channel, limit: 0 })).offset, 5);
    assert.equal(await code(one, { channel, offset: 99 }), 1011);
    assert.equal(await code(one, { channel: 'chat:nobody', offset: 1 }), 1011);
    for (const body of [{ channel }, { channel, offset: 0 }, { offset: 1 }]) assert.equal(await code(one, body), 107);
    for (const offset of [-1, 1.5, 'x']) await assert.rejects(code(one, { channel, offset }), /HTTP 400/);
    assert.equal(await code(one, { channel, offset: 1, epoch: 'other' }), 112);
    assert.equal(await code(one, { channel: 'none:a', offset: 1 }), 108);
    assert.equal(await code(one, { channel: 'unknown:a', offset: 1 }), 102);
    await assert.rejects(one.api('message_delete', { channel, offset: 1 }, {}), /HTTP 401/);
    assert.equal((await history(one, channel)).length, 5);
  });

  await t.test('who was away learns of it, and never sees it', async () => {
    await away(ann, async () => {
      await one.ask('publish', { channel, data: { text: 'f' } });
      for (const offset of [3, 6]) await one.ask('message_delete', { channel, offset });
    });
    await until(() => heard.subscribed.length === 2, 'ann is back');
    assert.equal(heard.subscribed[1].recovered, true);
    await until(() => heard.publications.length === 8, 'she has it all');
    assert.deepEqual(heard.publications.slice(5).map(({ offset, data }) => [offset, data]), [[6, GONE], [7, { deleted: 3 }], [8, { deleted: 6 }]]);
  });

  await t.test('it stays gone', async () => {
    await restart();
    const data = [{ text: 'a' }, GONE, GONE, { text: 'd' }, { deleted: 2 }, GONE, { deleted: 3 }, { deleted: 6 }];
    for (const gateway of gateways) assert.deepEqual(await history(gateway, channel), data);
    await until(() => bob.centrifuge.state === 'connected' && other.subscription.state === 'subscribed', 'bob is back');
    assert.deepEqual(offsets(other.publications), range(1, 8));
    // It may not know yet that its connection is gone.
    let left = null;
    await until(async () => (left = await state(bob, channel).catch(() => null)) !== null, 'bob is answered');
    assert.deepEqual([left.unread, left.first_unread], [1, 4]);
    assert.deepEqual(await two.ask('message_delete', { channel, offset: 6 }), {});
    assert.deepEqual(await two.ask('message_delete', { channel, offset: 1 }), {});
    await until(() => other.publications.length === 9, 'live ones go on');
    assert.deepEqual(other.publications[8].data, { deleted: 1 });
  });
}

for (const [shards, window_size] of [[1, 1000], [4, 2]]) {
  test(`deleting on ${shards} shards, with a window of ${window_size}`, async (t) => {
    const gateway = new Gateway({ shards });
    gateway.options.config = config({ engine: 'embedded', path: `${gateway.dir}/data`, window_size });
    t.after(() => gateway.end());
    await gateway.start();
    await story(t, [gateway], 'chat:a', async () => {
      await gateway.kill();
      await gateway.start({ shards: 5 - shards });
    });
  });
}

test('deleting over two gateways of one Redis', async (t) => {
  const redis = await new Redis().start();
  t.after(() => redis.end());
  const gateways = [1, 2].map((shards) => new Gateway({ shards, config: { ...config({ engine: 'redis' }), redis: redis.options } }));
  t.after(async () => { for (const gateway of gateways) await gateway.end(); });
  await Promise.all(gateways.map((gateway) => gateway.start()));
  await story(t, gateways, 'chat:a', async () => {
    for (const gateway of gateways) {
      await gateway.kill();
      await gateway.start();
    }
  });
});
