// What a backend asks: who is there, which channels are heard, and the end of a
// history; presence over the server API.
import assert from 'node:assert/strict';
import test from 'node:test';
import { away, connect, offsets, range, subscribe } from './client.mjs';
import { Gateway, SECRET, until } from './gateway.mjs';

const OPEN = { allow_subscribe_for_client: true };
const config = {
  channel: { presence_max_clients: 3, namespaces: [
    { name: 'room', presence: true, ...OPEN },
    { name: 'none', ...OPEN },
    { name: 'kept', history_size: 100, history_ttl: '300s', force_recovery: true, allow_history_for_client: true, ...OPEN },
  ] },
  client: { token: { hmac_secret_key: SECRET } },
};

const error = async (gateway, method, body) => (await gateway.api(method, body)).error;

for (const shards of [1, 4]) {
  test(`presence over the API, on ${shards} shards`, async (t) => {
    const gateway = new Gateway({ shards });
    gateway.options.config = { ...config, storage: { engine: 'embedded', path: `${gateway.dir}/data` } };
    const clients = [];
    t.after(async () => {
      for (const client of clients) client.centrifuge.disconnect();
      await gateway.end();
    });
    await gateway.start();
    const come = async (user) => clients[clients.push(await connect(gateway, user)) - 1];
    const ann = await come('ann');
    const ann2 = await come('ann');
    const bob = await come('bob');

    await t.test('who is there', async () => {
      assert.deepEqual(await gateway.ask('presence', { channel: 'room:1' }), { presence: {} });
      assert.deepEqual(await gateway.ask('presence_stats', { channel: 'room:1' }), { num_clients: 0, num_users: 0 });
      for (const client of [ann, ann2, bob]) await subscribe(client, 'room:1');
      const { presence } = await gateway.ask('presence', { channel: 'room:1' });
      assert.deepEqual(presence, Object.fromEntries([ann, ann2, bob].map((client) =>
        [client.id, { user: client.user, client: client.id }])));
      assert.deepEqual(await gateway.ask('presence_stats', { channel: 'room:1' }), { num_clients: 3, num_users: 2 });
      await subscribe(await come('carl'), 'room:1');
      assert.deepEqual(await error(gateway, 'presence', { channel: 'room:1' }), { code: 1003, message: 'presence too big' });
      assert.deepEqual(await gateway.ask('presence_stats', { channel: 'room:1' }), { num_clients: 4, num_users: 3 });
      for (const method of ['presence', 'presence_stats']) {
        assert.equal((await error(gateway, method, { channel: 'unknown:1' })).code, 102);
        assert.equal((await error(gateway, method, {})).code, 107);
        assert.equal((await error(gateway, method, { channel: 'none:1' })).code, 108);
      }
    });

    await t.test('which channels are heard', async () => {
      await subscribe(ann, 'none:"q"');
      await subscribe(bob, 'none:2');
      const all = { 'room:1': { num_clients: 4 }, 'none:"q"': { num_clients: 1 }, 'none:2': { num_clients: 1 } };
      assert.deepEqual(await gateway.ask('channels', {}), { channels: all });
      assert.deepEqual(await gateway.ask('channels', { pattern: '*' }), { channels: all });
      assert.deepEqual(await gateway.ask('channels', { pattern: 'none:?' }), { channels: { 'none:2': { num_clients: 1 } } });
      assert.deepEqual(await gateway.ask('channels', { pattern: 'r*1' }), { channels: { 'room:1': { num_clients: 4 } } });
      assert.deepEqual(await gateway.ask('channels', { pattern: 'x*' }), { channels: {} });
      assert.equal((await error(gateway, 'channels', { pattern: 'x'.repeat(256) })).code, 107);
      await gateway.ask('publish', { channel: 'kept:unheard', data: 1 }); // nobody listens
      assert.deepEqual(await gateway.ask('channels', { pattern: 'kept:*' }), { channels: {} });
    });

    await t.test('the end of a history', async () => {
      const channel = 'kept:1';
      const feed = await subscribe(ann, channel);
      for (let i = 1; i <= 5; i++) await gateway.ask('publish', { channel, data: i });
      await until(() => feed.publications.length === 5, 'all five arrived');
      const { epoch } = await gateway.ask('history', { channel, limit: -1 });
      await away(ann, async () => {
        assert.deepEqual(await gateway.ask('history_remove', { channel }), {});
      });
      await until(() => feed.subscribed.length === 2, 'ann is back');
      assert.equal(feed.subscribed[1].recovered, true); // she had it all
      assert.deepEqual(await gateway.ask('history', { channel, limit: -1 }), { publications: [], epoch, offset: 5 });
      assert.deepEqual((await bob.centrifuge.history(channel, { limit: 10 })).publications, []);
      for (let i = 6; i <= 8; i++)
        assert.deepEqual(await gateway.ask('publish', { channel, data: i }), { offset: i, epoch });
      await until(() => feed.publications.length === 8, 'live ones go on');
      assert.deepEqual(offsets(feed.publications), range(1, 8));

      // Whoever was away over the removal and had not got it all is told so.
      await away(ann, async () => {
        await gateway.ask('publish', { channel, data: 9 });
        await gateway.ask('history_remove', { channel });
        await gateway.ask('publish', { channel, data: 10 });
      });
      await until(() => feed.subscribed.length === 3, 'ann is back again');
      assert.equal(feed.subscribed[2].recovered, false);
      assert.equal(feed.publications.length, 8);

      await gateway.kill(); // what is removed stays removed
      await gateway.start({ shards: 5 - shards });
      const after = await gateway.ask('history', { channel, limit: -1 });
      assert.deepEqual(offsets(after.publications), [10]);
      assert.equal(after.epoch, epoch);
      assert.equal((await error(gateway, 'history_remove', { channel: 'none:1' })).code, 108);
      assert.equal((await error(gateway, 'history_remove', { channel: 'unknown:1' })).code, 102);
    });

    await t.test('all of it in one batch', async () => {
      const { replies } = await gateway.api('batch', { commands: [
        { presence_stats: { channel: 'none:1' } }, { channels: { pattern: 'x*' } },
        { presence: { channel: 'room:empty' } }, { history_remove: { channel: 'kept:1' } },
        { history: { channel: 'kept:1', limit: -1 } }] });
      assert.equal(replies[0].error.code, 108);
      assert.deepEqual(replies[1], { channels: { channels: {} } });
      assert.deepEqual(replies[2], { presence: { presence: {} } });
      assert.deepEqual(replies[3], { history_remove: {} });
      assert.deepEqual(replies[4].history.publications, []);
    });
  });
}
