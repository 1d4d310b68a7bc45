// Sentinel and Cluster under load, two gateways above: a primary that dies, one that
// stands still until another took over, a slot that moves.  ledger.mjs judges.
import assert from 'node:assert/strict';
import test from 'node:test';
import { away } from './client.mjs';
import { sleep, until } from './gateway.mjs';
import { IMPATIENT, KEEPING, underLoad } from './ledger.mjs';
import { RedisCluster } from './redis_cluster.mjs';
import { RedisSentinel } from './redis_sentinel.mjs';

const CHANNELS = ['chat:a', 'chat:b', 'chat:c', 'chat:d', 'chat:e', 'chat:f'];

async function stage(t, servers, more = {}) {
  t.after(() => servers.end());
  await servers.start();
  return underLoad(t, CHANNELS, () => ({ ...servers.options, ...IMPATIENT, ...more }), KEEPING);
}

async function end(ledger) {
  for (const channel of CHANNELS) {
    const from = ledger.last(channel).n;
    await until(() => ledger.last(channel).n > from + 30, `publishing to ${channel} goes on`);
  }
  await ledger.stop();
  await ledger.settle();
}

test('Sentinel, redis.wait_replicas: the primary is killed, and nothing is lost', async (t) => {
  const servers = new RedisSentinel();
  const { ledger } = await stage(t, servers, { wait_replicas: 1, wait_timeout: '200ms' });
  await servers.primary.kill();
  await until(() => servers.replica.ask('INFO', 'replication').includes('role:master'), 'the replica is promoted');
  servers.primary.args = ['--replicaof', '127.0.0.1', String(servers.replica.port)];
  await servers.primary.start();
  await end(ledger);
  ledger.judge(); // and nobody is told that anything was
  assert.equal(await ledger.missing(), 0);
});

test('Sentinel: the primary stands still for ten seconds, and another took over meanwhile', async (t) => {
  const servers = new RedisSentinel();
  const { gateways, ledger } = await stage(t, servers);
  const traveller = await ledger.listen(gateways[0], 'traveller');
  await away(traveller.client, async () => {
    const began = Date.now();
    servers.primary.child.kill('SIGSTOP');
    t.after(() => servers.primary.child.kill('SIGCONT'));
    await until(() => servers.replica.ask('INFO', 'replication').includes('role:master'), 'the replica is promoted');
    await ledger.more(60, 'publishing goes on at the new primary');
    await sleep(10000 - (Date.now() - began));
    servers.primary.child.kill('SIGCONT'); // says that it is the primary, for a moment
    await ledger.more(60);
  });
  await end(ledger);
  const { told } = ledger.judge({ mayLose: true });
  assert.equal(told, CHANNELS.length * ledger.listeners.length, 'another server is another generation');
});

test('Cluster: slots move to another primary and back under load, and nobody notices', async (t) => {
  const servers = new RedisCluster();
  const { ledger } = await stage(t, servers);
  const [one, two] = servers.primaries;
  const slots = [...new Set(one.ask('--scan', '--pattern', '*').split('\n').filter((key) => key !== '')
    .map((key) => Number(one.ask('CLUSTER', 'KEYSLOT', key))))];
  assert.ok(slots.length > 0);
  for (const [from, to] of [[one, two], [two, one]])
    for (const slot of slots) await servers.move(slot, from, to, () => sleep(50));
  await end(ledger);
  ledger.judge();
  assert.equal(await ledger.missing(), 0);
});

test('Cluster, redis.wait_replicas: a primary is killed, and nothing is lost', async (t) => {
  const servers = new RedisCluster();
  const { ledger } = await stage(t, servers, { wait_replicas: 1, wait_timeout: '200ms' });
  const [victim, heir] = [servers.primaries[0], servers.servers[3]];
  await victim.kill();
  await until(() => heir.ask('INFO', 'replication').includes('role:master'), 'its replica is promoted');
  await victim.start(); // comes back as a replica
  await end(ledger);
  ledger.judge(); // and nobody is told that anything was
  assert.equal(await ledger.missing(), 0);
});
