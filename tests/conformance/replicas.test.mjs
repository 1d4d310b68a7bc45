// redis.wait_replicas with the real program: while the replica sleeps nobody hears of
// anything and the answer is to ask again; awake, the same key gets the first offset.
import assert from 'node:assert/strict';
import test from 'node:test';
import { connect, range, subscribe } from './client.mjs';
import { Gateway, until } from './gateway.mjs';
import { Redis } from './redis.mjs';

test('redis.wait_replicas', async (t) => {
  const primary = await new Redis({ arguments: ['--repl-diskless-sync-delay', '0'] }).start();
  t.after(() => primary.end());
  const replica = await new Redis({ arguments: ['--replicaof', '127.0.0.1', String(primary.port)] }).start();
  t.after(() => replica.end());
  await until(() => replica.say('INFO', 'replication').includes('master_link_status:up'), 'the replica copies');
  const options = { config: { storage: { engine: 'redis' }, redis: { ...primary.patient, wait_replicas: 1, wait_timeout: '300ms' } } };
  const here = new Gateway(options), there = new Gateway(options);
  t.after(() => { here.end(); there.end(); });
  await here.start({ shards: 1 });
  await there.start({ shards: 4 });
  const alice = await connect(here, 'alice'), bob = await connect(there, 'bob');
  t.after(() => { alice.centrifuge.disconnect(); bob.centrifuge.disconnect(); });
  const feeds = [await subscribe(alice, 'chat:room'), await subscribe(bob, 'chat:room')];
  const heard = (count) => until(() => feeds.every((feed) => feed.publications.length === count), `${count} arrived at both`);
  const publish = (gateway, n) => gateway.ask('publish', { channel: 'chat:room', data: { n }, idempotency_key: `k${n}` });
  const insist = (gateway, n) => until(() => publish(gateway, n).catch(() => null), `${n} is acknowledged`);
  const health = async (gateway) => (await (await fetch(`${gateway.http}/health`)).json()).store;
  const kept = async (gateway) => (await gateway.ask('history', { channel: 'chat:room', limit: -1 })).publications.length;

  await t.test('awake', async () => {
    for (let n = 1; n <= 20; n++) assert.equal((await insist(n % 2 ? here : there, n)).offset, n);
    await heard(20);
    assert.equal(await kept(there), 20);
  });

  await t.test('asleep: unknown, unheard, unread, and health says so', async () => {
    replica.child.kill('SIGSTOP');
    await assert.rejects(publish(here, 21));
    await assert.rejects(publish(there, 22));
    await assert.rejects(publish(there, 21));
    await until(async () => !(await health(here)).ok, 'health is red');
    assert.match((await health(here)).detail, /0 of the 1 replicas/);
    for (const gateway of [here, there]) assert.equal(await kept(gateway), 20);
    const late = await connect(there, 'late');
    t.after(() => late.centrifuge.disconnect());
    const feed = await subscribe(late, 'chat:room');
    assert.equal(feed.subscribed.at(-1).streamPosition.offset, 20);
    feeds.push(feed);
    assert.deepEqual(feeds.map((one) => one.publications.length), [20, 20, 0]);
    feed.publications.push(...feeds[0].publications); // it has seen them, as far as counting goes
  });

  await t.test('awake again: each once, at its first offset', async () => {
    replica.child.kill('SIGCONT');
    assert.equal((await insist(there, 21)).offset, 21);
    assert.equal((await insist(here, 22)).offset, 22);
    assert.equal((await insist(here, 23)).offset, 23);
    await heard(23);
    for (const feed of feeds) assert.deepEqual(feed.publications.map((p) => p.data.n), range(1, 23));
    await until(async () => (await health(here)).ok && (await health(there)).ok, 'both are healthy');
  });
});
