// Members come and go: what is new for a user who was away, at once, and also that a channel
// is no longer theirs; and a channel that grows beyond what is told live says so.
import assert from 'node:assert/strict';
import test from 'node:test';
import { connect, subscribe } from './client.mjs';
import { Gateway, KEY, SECRET, until } from './gateway.mjs';

const CHAT = { history_size: 100, history_ttl: '1h', allow_publish_for_client: true };
const config = (namespaces = ['chat', 'team']) => ({ channel: { namespaces: namespaces.map((name) => ({ name, ...CHAT })) },
  client: { token: { hmac_secret_key: SECRET } }, http_api: { key: KEY } });

/** A device that comes with a version: what the connect reply tells, and what it hears later. */
async function device(t, gateway, user, digest) {
  const self = { heard: [] };
  const client = await connect(gateway, user, { data: { digest } });
  t.after(() => client.centrifuge.disconnect());
  client.centrifuge.on('message', ({ data }) => self.heard.push(data.receipt));
  self.rpc = async (method, data) => (await client.centrifuge.rpc(method, data)).data;
  self.leave = () => client.centrifuge.disconnect();
  return self;
}
const names = ({ channels }) => channels.map(({ channel }) => channel).sort();

for (const shards of [1, 4]) {
  test(`what a user was away for, ${shards} shards`, async (t) => {
    const gateway = await new Gateway({ shards, config: config() }).start();
    t.after(() => gateway.stop());
    const ann = await device(t, gateway, 'ann', '');
    const members = (kind, channel, ...users) => gateway.ask(`members_${kind}`, { channel, users });

    await t.test('who was added a moment ago finds the channel', async () => {
      for (let round = 0; round < 6; round++) {
        const channel = `chat:new${round}`, user = `zoe${round}`;
        await members('set', channel, user, 'ann');
        await ann.rpc('message.send', { channel, data: {} });
        const zoe = await device(t, gateway, user, '');
        const { channels } = await zoe.rpc('receipt.digest', {});
        assert.deepEqual(channels.map((each) => [each.channel, each.unread]), [[channel, 1]]);
        zoe.leave();
      }
    });

    await t.test('who was removed is told, later and at once', async () => {
      const all = ['chat:a', 'chat:b', 'chat:c'];
      for (const channel of all) {
        await members('set', channel, 'bob', 'ann');
        await ann.rpc('message.send', { channel, data: {} });
      }
      const bob = await device(t, gateway, 'bob', '');
      const first = await bob.rpc('receipt.digest', {});
      assert.deepEqual([names(first), first.all], [all, true]);
      bob.leave();
      await members('remove', 'chat:b', 'bob');
      const back = await device(t, gateway, 'bob', first.version);
      const then = await back.rpc('receipt.digest', { version: first.version });
      assert.deepEqual(then.channels.filter(({ removed }) => removed), [{ channel: 'chat:b', unread: 0, removed: true }]);
      assert.deepEqual((await back.rpc('receipt.digest', { version: then.version })).channels, []);
      await members('set', 'chat:c', 'ann');
      await until(() => back.heard.length > 0, 'it is told');
      assert.deepEqual(back.heard, [{ channel: 'chat:c', unread: 0, removed: true }]);
      const last = await back.rpc('receipt.digest', { version: first.version });
      assert.deepEqual(last.channels.filter(({ removed }) => removed).map(({ channel }) => channel).sort(), ['chat:b', 'chat:c']);
    });

    await t.test('where a version has no room for names, all is told', async () => {
      const many = Array.from({ length: 22 }, (_, i) => `chat:${'n'.repeat(100)}${String(i).padStart(2, '0')}`);
      for (const channel of many) await members('set', channel, 'cid', 'ann');
      const cid = await device(t, gateway, 'cid', '');
      const first = await cid.rpc('receipt.digest', {});
      assert.deepEqual(names(first), many);
      const same = await cid.rpc('receipt.digest', { version: first.version });
      assert.deepEqual([same.channels, same.all], [[], undefined]);
      await members('remove', many[7], 'cid');
      const then = await cid.rpc('receipt.digest', { version: first.version });
      assert.deepEqual([names(then), then.all], [many.filter((_, i) => i !== 7), true]);
    });

    await t.test('a channel without a namespace is nobody’s', async () => {
      await members('set', 'team:x', 'dan');
      await members('set', 'chat:x', 'dan');
      const dan = await device(t, gateway, 'dan', '');
      const first = await dan.rpc('receipt.digest', {});
      assert.deepEqual(names(first), ['chat:x', 'team:x']);
      dan.leave();
      ann.leave();
      await gateway.stop();
      gateway.options.config = config(['chat']);
      await gateway.start({ shards });
      const later = await device(t, gateway, 'dan', '');
      assert.deepEqual(names(await later.rpc('receipt.digest', {})), ['chat:x']);
      const then = await later.rpc('receipt.digest', { version: first.version });
      assert.deepEqual(then.channels.filter(({ channel }) => channel !== 'chat:x'), [{ channel: 'team:x', unread: 0, removed: true }]);
    });
  });
}

test('a channel that grows beyond what is told says so once', async (t) => {
  const receipts = { small_channel_threshold: 2, large_channel_threshold: 2, huge_channel_threshold: 3 };
  const gateway = await new Gateway({ config: { ...config(), receipts } }).start();
  t.after(() => gateway.stop());
  const channel = 'chat:grows';
  await gateway.ask('members_set', { channel, users: ['ann', 'bob', 'cid'] });
  const ann = await connect(gateway, 'ann');
  t.after(() => ann.centrifuge.disconnect());
  const { publications } = await subscribe(ann, `receipts:${channel}`);
  const told = () => publications.map(({ data }) => data.members).filter((count) => count !== undefined);
  for (const user of ['dan', 'eve', 'fay']) await gateway.ask('members_add', { channel, users: [user] });
  await until(() => told().length > 0, 'it says so');
  await gateway.ask('members_remove', { channel, users: ['dan', 'eve', 'fay'] });
  await until(() => told().at(-1) === 3, 'it is told again');
  assert.equal(told().filter((count) => count > 3).length, 1);
  assert.equal(told().length, 2);
});
