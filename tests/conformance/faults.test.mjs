// Redis in trouble under load, two gateways over it: what was acknowledged is
// heard by everybody exactly once and in order, or everybody concerned is told.
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { away, connect } from './client.mjs';
import { sleep, until } from './gateway.mjs';
import { IMPATIENT, underLoad } from './ledger.mjs';
import { Proxy } from './proxy.mjs';
import { Redis } from './redis.mjs';

const CHANNELS = ['chat:a', 'chat:b', 'chat:c', 'chat:d'];

/** Two gateways, a listener on each, traffic on every channel.  `wires`: through proxies. */
async function stage(t, { wires = false, arguments: more = [] } = {}) {
  const redis = await new Redis({ arguments: more }).start();
  t.after(() => redis.end());
  const proxies = [];
  const reached = async () => {
    if (!wires) return { address: redis.address, ...IMPATIENT };
    const proxy = await new Proxy(redis.port).start();
    proxies.push(proxy);
    t.after(() => proxy.end());
    return { address: `redis://127.0.0.1:${proxy.port}`, ...IMPATIENT };
  };
  return { redis, proxies, ...await underLoad(t, CHANNELS, reached) };
}

const isHealthy = async (gateway) => (await fetch(`${gateway.http}/health`)).status === 200;

async function end(ledger, options) {
  await ledger.more(100, 'publishing goes on');
  await ledger.stop();
  await ledger.settle();
  return ledger.judge(options);
}

test('Redis stands still for ten seconds: health is red, nothing is lost, nothing comes twice', async (t) => {
  const { redis, gateways, ledger } = await stage(t);
  redis.child.kill('SIGSTOP');
  t.after(() => redis.child.kill('SIGCONT'));
  const began = Date.now();
  await until(async () => !(await isHealthy(gateways[0])) && !(await isHealthy(gateways[1])), 'both say so');
  assert.ok(Date.now() - began < 10000, 'found within ten seconds');
  // The link stands, and neither 'unreachable' nor 'refused' is true; whatever was found first.
  await sleep(10000 - (Date.now() - began));
  const { store } = await (await fetch(`${gateways[0].http}/health`)).json();
  assert.match(store.detail, /answers nothing, though the connection stands/);
  assert.match(gateways[0].log, /link to Redis is lost .*reason="[^"]*answers nothing, though the connection stands: it hangs/);
  assert.doesNotMatch(gateways[0].log, /cannot reach Redis/);
  redis.child.kill('SIGCONT');
  await until(async () => await isHealthy(gateways[0]) && await isHealthy(gateways[1]), 'both are healthy again');
  await end(ledger);
});

test('the scripts are forgotten: nobody notices', async (t) => {
  const { redis, ledger } = await stage(t);
  for (let i = 0; i < 5; i++) { redis.say('SCRIPT', 'FLUSH'); await ledger.more(40); }
  assert.equal(ledger.refusals, 0);
  await end(ledger);
});

test('a link that is up and says nothing is found, and what it held back is heard', async (t) => {
  for (const direction of [{ up: false, down: true }, { up: true, down: false }]) {
    await t.test(`nothing goes ${direction.up ? 'up' : 'down'}`, async (t) => {
      const { gateways, proxies, ledger } = await stage(t, { wires: true });
      proxies[0].hold(direction);
      const began = Date.now();
      await until(async () => !(await isHealthy(gateways[0])), 'health is red');
      assert.ok(Date.now() - began < 10000, 'found within ten seconds');
      assert.ok(await isHealthy(gateways[1]));
      await sleep(2000); // the other gateway goes on meanwhile
      proxies[0].release();
      await until(() => isHealthy(gateways[0]), 'healthy again');
      await end(ledger);
    });
  }
});

test('streams were evicted: what a gateway still has in memory is heard, what nobody has is told', async (t) => {
  const { redis, ledger, gateways } = await stage(t);
  const streams = () => redis.say('--scan', '--pattern', '*:s:chat:*').split('\n');
  const travellers = [await ledger.listen(gateways[0], 'here'), await ledger.listen(gateways[1], 'there')];
  const evict = async () => {
    await ledger.more(40);
    for (const key of streams()) redis.say('DEL', key);
    await ledger.more(40);
  };
  await ledger.more(40);
  await away(travellers[0].client, evict);
  await away(travellers[1].client, async () => {
    await evict();
    await gateways[1].kill();
    await gateways[1].start();
  });
  await ledger.stop();
  await ledger.settle();
  ledger.judge({ mayLose: true });
  const isTold = ({ events }) => CHANNELS.map((channel) => events.get(channel).some((event) => event.isTold));
  assert.deepEqual(isTold(travellers[0]), CHANNELS.map(() => false));
  assert.deepEqual(isTold(travellers[1]), CHANNELS.map(() => true));
  assert.deepEqual(isTold(ledger.listeners[0]), CHANNELS.map(() => false));
});

test('a partition was evicted: everybody is told of a new epoch', async (t) => {
  const { redis, ledger, gateways } = await stage(t);
  const traveller = await ledger.listen(gateways[1], 'traveller');
  const before = ledger.last(CHANNELS[0]).epoch;
  await away(traveller.client, async () => {
    for (const key of redis.say('--scan', '--pattern', '*:meta').split('\n')) redis.say('DEL', key);
    await ledger.more(400); // past every offset that the traveller knows
  });
  await ledger.stop();
  await ledger.settle();
  const { told } = ledger.judge({ mayLose: true });
  assert.equal(told, CHANNELS.length * 3);
  assert.notEqual(ledger.last(CHANNELS[0]).epoch, before);
});

test('the members of a channel were deleted: that is no mere refusal', async (t) => {
  const { redis, ledger, gateways: [gateway] } = await stage(t);
  const channel = CHANNELS[0], before = ledger.last(channel).epoch;
  await gateway.ask('members_set', { channel, members: ['ann'] });
  const ann = await connect(gateway, 'ann');
  t.after(() => ann.centrifuge.disconnect());
  const read = () => ann.centrifuge.rpc('receipt.read', { channel, offset: 1 });
  assert.ok((await read()).data.offset > 0);
  await ledger.stop();
  await gateway.kill();
  for (const key of redis.say('--scan', '--pattern', `*:m:${channel}`).split('\n')) redis.say('DEL', key);
  await gateway.start();
  await until(() => ann.connects === 2, 'ann is back');
  await assert.rejects(read(), { code: 103 });
  await until(() => gateway.log.includes(`noeviction channel=${channel}`), 'the log names the channel');
  assert.notEqual((await gateway.ask('history', { channel, limit: 0 })).epoch, before);
  await gateway.ask('members_set', { channel, members: ['ann'] });
  assert.ok((await read()).data.offset > 0);
});

// Redis says that it forgets nothing; an operator may make it.  Or it says that it may
// forget a second: then the first restart is told already, and the second must not
// count up from the older data to what was told before.
for (const sync of ['always', 'everysec'])
  test(`appendfsync ${sync}: older data was put in place while no gateway ran, everybody is told`, async (t) => {
    const { redis, ledger, gateways } = await stage(t, { arguments: ['--appendfsync', sync] });
    const before = ledger.last(CHANNELS[0]).epoch, copy = mkdtempSync(join(tmpdir(), 'sluice-copy-'));
    t.after(() => rmSync(copy, { recursive: true, force: true }));
    await redis.kill();
    cpSync(redis.dir, copy, { recursive: true });
    await redis.start();
    await ledger.more(100, 'publishing goes on after a restart that was seen');
    const between = ledger.last(CHANNELS[0]).epoch;
    assert.equal(between === before, sync === 'always');
    await until(() => ledger.listeners.every(({ subscriptions }) => [...subscriptions.values()].every(
      (one) => one.state === 'subscribed' && one._epoch === ledger.last(one.channel).epoch)), 'everybody knows the epoch');
    for (const gateway of gateways) await gateway.kill();
    await redis.kill();
    rmSync(redis.dir, { recursive: true });
    cpSync(copy, redis.dir, { recursive: true });
    await redis.start();
    for (const gateway of gateways) await gateway.start();
    await ledger.more(400); // past every offset that anybody knows
    await ledger.stop();
    await ledger.settle();
    const { told } = ledger.judge({ mayLose: true });
    assert.equal(told, CHANNELS.length * ledger.listeners.length);
    assert.ok(![before, between].includes(ledger.last(CHANNELS[0]).epoch));
  });
