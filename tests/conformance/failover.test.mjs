// The primary dies and its replica takes over, two gateways above.  Redis copies to
// replicas after it has answered, so what was answered last may be missing then:
// with redis.wait_replicas nothing is, without it everybody concerned is told.
//
// The replica copies over a wire that the test holds (a partition), and the
// gateways reach "the primary" over wires that the test turns (an address that moves).
import assert from 'node:assert/strict';
import test from 'node:test';
import { away } from './client.mjs';
import { sleep, until } from './gateway.mjs';
import { IMPATIENT, KEEPING, underLoad } from './ledger.mjs';
import { Proxy } from './proxy.mjs';
import { Redis } from './redis.mjs';

const CHANNELS = ['chat:a', 'chat:b', 'chat:c', 'chat:d'];
const PARTITION_MS = 400;

async function stage(t, options = {}) {
  const primary = await new Redis().start();
  t.after(() => primary.end());
  const copying = await new Proxy(primary.port).start();
  t.after(() => copying.end());
  const replica = await new Redis({ arguments: ['--replicaof', '127.0.0.1', String(copying.port)] }).start();
  t.after(() => replica.end());
  await until(() => replica.say('INFO', 'replication').includes('master_link_status:up'), 'the replica copies');
  const wires = [];
  const wired = async () => {
    const wire = await new Proxy(primary.port).start();
    wires.push(wire);
    t.after(() => wire.end());
    return { address: `redis://127.0.0.1:${wire.port}`, ...IMPATIENT, ...options };
  };
  const { gateways, ledger } = await underLoad(t, CHANNELS, wired, KEEPING);

  /** The primary dies; the replica is the primary from now on, with a replica of its own. */
  const failOver = async () => {
    await primary.kill();
    copying.cut();
    replica.say('REPLICAOF', 'NO', 'ONE');
    for (const wire of wires) { wire.target = replica.port; wire.cut(); }
    copying.target = replica.port;
    copying.release();
    primary.more = ['--replicaof', '127.0.0.1', String(copying.port)];
    await primary.start();
  };
  return { primary, replica, copying, gateways, ledger, failOver };
}

async function end(ledger, least) {
  await ledger.more(least, 'publishing goes on');
  await ledger.stop();
  await ledger.settle();
}

for (const isAway of [false, true])
  test(`a partition of ${PARTITION_MS} ms, then the primary's death: ${isAway ? 'who was away' : 'who listens'} is told`, async (t) => {
    const { copying, gateways, ledger, failOver } = await stage(t);
    const traveller = await ledger.listen(gateways[1], 'traveller');
    await ledger.more(100);
    const work = async () => {
      copying.hold();
      const from = ledger.acknowledged.length;
      await sleep(PARTITION_MS);
      const lost = ledger.acknowledged.length - from;
      await failOver();
      t.diagnostic(`${lost} were acknowledged in the partition`);
      assert.ok(lost > 0, 'the fault hit something');
      // Past every offset that anybody knows: the numbers alone would look as if nothing happened.
      await ledger.more(lost * 2 + 100);
    };
    if (isAway) await away(traveller.client, work); else await work();
    await end(ledger, 50);
    const { told } = ledger.judge({ mayLose: true });
    assert.equal(told, CHANNELS.length * ledger.listeners.length);
    assert.ok(await ledger.missing() > 0, 'there was something to tell of');
  });

test(`redis.wait_replicas: a partition of ${PARTITION_MS} ms, then the primary's death: nothing is lost`, async (t) => {
  const { copying, ledger, failOver } = await stage(t, { wait_replicas: 1, wait_timeout: '200ms' });
  copying.hold();
  await sleep(PARTITION_MS);
  await failOver();
  await end(ledger, 100);
  ledger.judge(); // and nobody is told that anything was
  assert.equal(await ledger.missing(), 0);
});
