// Worker streams and sluice work on a Redis Cluster, a slot of which moves meanwhile.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { range } from './client.mjs';
import { BINARY, Gateway, until } from './gateway.mjs';
import { RedisCluster } from './redis_cluster.mjs';

test('a worker on a Redis Cluster', async (t) => {
  const cluster = await new RedisCluster().start();
  t.after(() => cluster.end());
  const gateway = new Gateway({ config: { storage: { engine: 'redis' },
    redis: { ...cluster.options, partitions: 32, streams: { enabled: true, conversations: true } } } });
  t.after(() => gateway.end());
  await gateway.start({ shards: 2 });
  const out = join(gateway.dir, 'done');
  const worker = spawn(BINARY, ['work', 'group_msg', '--group', 'search', '--wait', '100ms', '--idle', '2s',
    '--exec', `cat >> ${out}`, '--config', join(gateway.dir, 'config.json')], { stdio: ['ignore', 'ignore', 'pipe'] });
  let err = '';
  worker.stderr.on('data', (bytes) => { err += bytes; });
  const ended = new Promise((done) => worker.once('exit', (code) => done(code)));
  t.after(() => worker.kill('SIGKILL'));

  const done = () => (existsSync(out) ? readFileSync(out, 'utf8') : '').split('\n').slice(0, -1).map((line) => JSON.parse(line));
  const publish = async (first, last) => {
    for (const n of range(first, last)) {
      await until(() => gateway.ask('publish', { channel: `chat:${n % 8}`, data: n, idempotency_key: `k${n}` })
        .then(() => true, () => false), `${n} is published`);
    }
  };
  const everywhere = (pattern) => cluster.primaries.flatMap((server) => server.ask('KEYS', pattern).split('\n').filter(Boolean)
    .map((key) => ({ server, key })));

  await publish(1, 40);
  await until(() => done().length === 40, 'everything is done');
  const streams = everywhere('*}:group_msg').filter(({ server, key }) => Number(server.ask('XLEN', key)) > 0);
  assert.ok(new Set(streams.map(({ server }) => server)).size > 1, 'on several servers');
  assert.equal(everywhere('stream:conversation:*').length, 8);

  const [{ server, key }] = streams;
  const other = cluster.primaries.find((one) => one !== server);
  // What goes to a slot that is half-way waits until it has moved.
  let meanwhile;
  await cluster.move(Number(server.ask('CLUSTER', 'KEYSLOT', key)), server, other, async () => { meanwhile = publish(41, 48); });
  await meanwhile;
  await publish(49, 80);
  await until(() => new Set(done().map((line) => line.payload)).size === 80, 'everything is done again');
  assert.deepEqual(done().map((line) => line.payload).sort((a, b) => a - b), range(1, 80));
  await until(() => everywhere('*}:group_msg').every((one) => one.server.ask('XPENDING', one.key, 'search').startsWith('0')),
    'everything is acknowledged');
  await until(async () => /^sluice_store_group_lag\{topic="group_msg",group="search"\} 0$/m
    .test(await (await fetch(`${gateway.http}/metrics`)).text()), 'the group is up to date');
  worker.kill('SIGTERM');
  assert.equal(await ended, 0, err);
  assert.match(err, /80 done, 0 failed/);
});
