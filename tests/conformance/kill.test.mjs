// kill -9 between publish and reconnect: nothing acknowledged is missing,
// nothing doubled, with another number of shards, on both durable engines.
import assert from 'node:assert/strict';
import test from 'node:test';
import { away, connect, offsets, range, subscribe } from './client.mjs';
import { Gateway, until } from './gateway.mjs';
import { Redis } from './redis.mjs';

async function scenario(t, gateway) {
  t.after(() => gateway.end());
  await gateway.start({ shards: 2 });
  const alice = await connect(gateway, 'alice');
  const bob = await connect(gateway, 'bob');
  t.after(() => { alice.centrifuge.disconnect(); bob.centrifuge.disconnect(); });
  const feed = await subscribe(bob, 'chat:room');
  for (let i = 1; i <= 20; i++) await alice.centrifuge.publish('chat:room', { n: i });
  await until(() => feed.publications.length === 20, '20 arrived live');

  let next = 21;
  for (const shards of [3, 1, 4]) {
    await t.test(`killed and restarted with ${shards} shards`, async () => {
      // Bob is cut off first, so that what follows is missed; the process dies
      // right after the last acknowledgement.
      const first = next, before = feed.subscribed.length;
      await away(bob, async () => {
        const key = { idempotency_key: `k${first}` };
        const keyed = await gateway.ask('publish', { channel: 'chat:room', data: { n: next++ }, ...key });
        for (let i = 0; i < 49; i++) await gateway.ask('publish', { channel: 'chat:room', data: { n: next++ } });
        await gateway.kill();
        await gateway.start({ shards });
        assert.deepEqual(await gateway.ask('publish', { channel: 'chat:room', data: { n: 'doubled' }, ...key }), keyed);
      });
      await until(() => feed.subscribed.length > before, 'bob is subscribed again');
      await until(() => feed.publications.length >= next - 1, 'bob has what he missed');
      assert.equal(feed.subscribed.at(-1).recovered, true);
      assert.deepEqual(offsets(feed.publications), range(1, next - 1));
      assert.deepEqual(feed.publications.map((p) => p.data.n), range(1, next - 1));
      const all = await gateway.ask('history', { channel: 'chat:room', limit: -1 });
      assert.deepEqual(offsets(all.publications), range(1, next - 1));
      assert.equal(all.offset, next - 1);
    });
  }
}

test('embedded', (t) => scenario(t, new Gateway()));

test('redis', async (t) => {
  const redis = await new Redis().start();
  t.after(() => redis.end());
  await scenario(t, new Gateway({ config: { storage: { engine: 'redis' }, redis: redis.patient } }));
});
