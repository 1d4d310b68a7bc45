// Two gateways over one Redis: what one publishes the other delivers, over the
// death of Redis too; and data that vanished is told, never papered over.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import test from 'node:test';
import { connect, range, subscribe } from './client.mjs';
import { Gateway, until } from './gateway.mjs';
import { Redis } from './redis.mjs';

test('two gateways are one', async (t) => {
  const redis = await new Redis().start();
  t.after(() => redis.end());
  const options = { config: { storage: { engine: 'redis' }, redis: redis.options } };
  const here = new Gateway(options), there = new Gateway(options);
  t.after(() => { here.end(); there.end(); });
  await here.start({ shards: 2 });
  await there.start({ shards: 3 });
  const alice = await connect(here, 'alice'), bob = await connect(there, 'bob');
  t.after(() => { alice.centrifuge.disconnect(); bob.centrifuge.disconnect(); });
  const feeds = [await subscribe(alice, 'chat:room'), await subscribe(bob, 'chat:room')];
  const heard = (count) => until(() => feeds.every((feed) => feed.publications.length === count), `${count} arrived at both`);
  const health = async (gateway) => (await (await fetch(`${gateway.http}/health`)).json()).store;

  await t.test('each hears both, in one order', async () => {
    for (let i = 1; i <= 50; i++) {
      if (i % 2 === 0) await there.ask('publish', { channel: 'chat:room', data: { n: i } });
      else await alice.centrifuge.publish('chat:room', { n: i });
    }
    await heard(50);
    for (const feed of feeds) assert.deepEqual(feed.publications.map((p) => p.data.n), range(1, 50));
  });

  // Gap fill would hide announcements that never come: count how often it had to.
  await t.test('what one publishes is announced to the other, not found later', async () => {
    const gaps = async () => {
      const metrics = await (await fetch(`${there.http}/metrics`)).text();
      return Number(/^sluice_store_gaps_filled_total (\d+)$/m.exec(metrics)[1]);
    };
    const quiet = await subscribe(bob, 'chat:announced');
    const before = await gaps();
    for (let i = 1; i <= 40; i++) {
      await here.ask('publish', { channel: 'chat:announced', data: i });
      await until(() => quiet.publications.length === i, `${i} arrived`);
    }
    const filled = await gaps() - before;
    assert.ok(filled <= 1, `${filled} of 40 had to be found by a gap fill`);
  });

  await t.test('Redis dies and comes back: nobody is disturbed', async () => {
    const publish = () => here.ask('publish', { channel: 'chat:room', data: { n: 51 }, idempotency_key: 'k51' });
    await redis.kill();
    await assert.rejects(publish());
    assert.equal((await health(here)).ok, false);
    await redis.start();
    await until(() => publish().then(() => true, () => false), 'publishing works again');
    await heard(51);
    await until(async () => (await health(here)).ok && (await health(there)).ok, 'both are healthy');
    for (const feed of feeds) assert.equal(feed.subscribed.length, 1);
  });

  await t.test('Redis is emptied: everybody is told', async () => {
    execFileSync('redis-cli', ['-p', String(redis.port), 'FLUSHALL']);
    await until(() => feeds.every((feed) => feed.subscribed.length === 2), 'both subscribed again');
    for (const feed of feeds) assert.equal(feed.subscribed[1].recovered, false);
    await alice.centrifuge.publish('chat:room', { n: 52 });
    await heard(52);
    for (const feed of feeds) assert.equal(feed.publications[51].offset, 1);
  });
});
