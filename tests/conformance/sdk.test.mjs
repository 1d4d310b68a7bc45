// An official SDK publishes on one shard, another receives on a second one,
// goes away, and gets exactly what it missed.
import assert from 'node:assert/strict';
import test from 'node:test';
import { away, connect, connectElsewhere, offsets, range, shardOf, subscribe } from './client.mjs';
import { Gateway, until } from './gateway.mjs';

for (const [engine, wire] of [['embedded', 'json'], ['memory', 'json'], ['memory', 'protobuf']]) {
  test(`live, recovery and its limits on ${engine} by ${wire}`, async (t) => {
    const gateway = new Gateway({ shards: 4, config: { } });
    gateway.options.config = { storage: { engine, path: `${gateway.dir}/data` } };
    t.after(() => gateway.end());
    await gateway.start();
    const alice = await connect(gateway, 'alice', { wire });
    await until(() => shardOf(gateway, alice) !== null, 'the log names the shard');
    const bob = await connectElsewhere(gateway, alice, 'bob', { wire });
    t.after(() => { alice.centrifuge.disconnect(); bob.centrifuge.disconnect(); });
    const feed = await subscribe(bob, 'chat:room');

    await t.test('info counts the two on different shards', async () => {
      const { nodes } = await gateway.ask('info', {});
      assert.equal(nodes.length, 1);
      assert.equal(nodes[0].num_clients, 2);
      const counts = nodes[0].shards.map((shard) => shard.num_clients);
      assert.deepEqual(counts.filter((count) => count > 0), [1, 1]);
    });

    await t.test('20 live messages arrive in order with who published them', async () => {
      for (let i = 1; i <= 20; i++) await alice.centrifuge.publish('chat:room', { n: i });
      await until(() => feed.publications.length >= 20, '20 publications arrived');
      assert.deepEqual(offsets(feed.publications), range(1, 20));
      assert.deepEqual(feed.publications.map((p) => p.data.n), range(1, 20));
      assert.equal(feed.publications[0].info.user, 'alice');
      assert.equal(feed.publications[0].info.client, alice.id);
    });

    await t.test('away for 50, back with exactly those', async () => {
      await away(bob, async () => {
        for (let i = 21; i <= 70; i++) await gateway.ask('publish', { channel: 'chat:room', data: { n: i } });
      });
      await until(() => feed.publications.length >= 70, 'what was missed arrived');
      const last = feed.subscribed.at(-1);
      assert.equal(last.wasRecovering, true);
      assert.equal(last.recovered, true);
      assert.deepEqual(offsets(feed.publications), range(1, 70));
      assert.deepEqual(feed.publications.map((p) => p.data.n), range(1, 70));
    });

    await t.test('a history of 2 with 10 missed is told as not recovered', async () => {
      const short = await subscribe(bob, 'short:room');
      await gateway.ask('publish', { channel: 'short:room', data: 0 });
      await until(() => short.publications.length === 1, 'the first arrived');
      await away(bob, async () => {
        for (let i = 1; i <= 10; i++) await gateway.ask('publish', { channel: 'short:room', data: i });
      });
      await until(() => short.subscribed.length === 2, 'subscribed again');
      const last = short.subscribed.at(-1);
      assert.equal(last.wasRecovering, true);
      assert.equal(last.recovered, false);
      assert.equal(short.publications.length, 1);
      await gateway.ask('publish', { channel: 'short:room', data: 'live' });
      await until(() => short.publications.length === 2, 'live again');
      assert.equal(short.publications[1].data, 'live');
      assert.equal(short.publications[1].offset, 12);
    });

    await t.test('history is paged by the SDK', async () => {
      const page = await alice.centrifuge.history('chat:room', { limit: 3, since: { offset: 10, epoch: '' } });
      assert.deepEqual(offsets(page.publications), [11, 12, 13]);
      assert.equal(page.offset, 70);
      const top = await alice.centrifuge.history('chat:room', { limit: 2, reverse: true });
      assert.deepEqual(offsets(top.publications), [70, 69]);
      const position = await alice.centrifuge.history('chat:room');
      assert.deepEqual(position.publications, []);
      assert.equal(position.epoch, page.epoch);
    });

    await t.test('permissions and names are told by their codes', async () => {
      await assert.rejects(alice.centrifuge.publish('closed:room', 1), { code: 103 });
      await assert.rejects(alice.centrifuge.publish('nowhere:room', 1), { code: 102 });
      await assert.rejects(alice.centrifuge.history('live:room'), { code: 108 });
      await assert.rejects(alice.centrifuge.presence('chat:room'), { code: 108 });
      await assert.rejects(alice.centrifuge.rpc('no.such', {}), { code: 108 });
      const denied = alice.centrifuge.newSubscription('closed:room');
      const ended = new Promise((done) => denied.on('unsubscribed', done));
      denied.subscribe();
      assert.equal((await ended).code, 103);
    });

    await t.test('a subscriber publishes where only subscribers may, without history', async () => {
      await assert.rejects(alice.centrifuge.publish('live:room', 1), { code: 103 });
      const mine = await subscribe(alice, 'live:room');
      const theirs = await subscribe(bob, 'live:room');
      assert.equal(mine.subscribed[0].recoverable, false);
      await mine.subscription.publish({ hello: 'wörld\n' });
      await until(() => mine.publications.length === 1 && theirs.publications.length === 1, 'both have it');
      assert.deepEqual(theirs.publications[0].data, { hello: 'wörld\n' });
      theirs.subscription.unsubscribe();
      await mine.subscription.publish(2);
      await until(() => mine.publications.length === 2, 'one has it');
      assert.equal(theirs.publications.length, 1);
    });

    await t.test('SIGTERM drains: clients are told 3001, the exit is clean', async () => {
      const closing = new Promise((done) => bob.centrifuge.once('connecting', done));
      const how = await gateway.stop();
      assert.equal((await closing).code, 3001);
      assert.deepEqual(how, { code: 0, signal: null });
    });
  });
}
