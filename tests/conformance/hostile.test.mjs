// Peers that want to hurt: what they make the gateway keep is bounded by named limits,
// and somebody else's clients do not notice.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import test from 'node:test';
import { connect, offsets, range, subscribe } from './client.mjs';
import { Gateway, SECRET, until } from './gateway.mjs';

const MIB = 1 << 20;

/** One shard, so that everybody is everybody's neighbour; and a client who only wants to chat. */
async function begin(t, client = {}) {
  const gateway = new Gateway({ shards: 1, config: { storage: { engine: 'memory' },
    client: { token: { hmac_secret_key: SECRET }, insecure: true, ...client } } });
  t.after(() => gateway.end());
  await gateway.start();
  const neighbour = await connect(gateway, 'neighbour');
  t.after(() => neighbour.centrifuge.disconnect());
  const feed = await subscribe(neighbour, 'chat:neighbour');
  const notices = async () => {
    for (const n of range(1, 5)) await gateway.ask('publish', { channel: 'chat:neighbour', data: n });
    await until(() => feed.publications.length === 5, 'the neighbour receives');
    assert.deepEqual(offsets(feed.publications), range(1, 5));
    assert.equal(neighbour.connects, 1);
    neighbour.centrifuge.disconnect();
    assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
  };
  return { gateway, notices };
}

/** `count` of mute_peers.py, once they have done it. */
async function mute(t, gateway, count, mode) {
  const peers = spawn('/usr/bin/python3', [new URL('mute_peers.py', import.meta.url).pathname, String(gateway.port),
    String(count), mode], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => peers.kill());
  let said = '';
  peers.stdout.on('data', (bytes) => { said += bytes; });
  await until(() => /done/.test(said), 'they have done it', 60000);
  return peers;
}

const grown = (gateway, before) => (gateway.isMeasurable ? gateway.memory() - before : 0);

test('pings whose answers nobody reads', async (t) => {
  const { gateway, notices } = await begin(t, { stale_close_delay: '1m' });
  const before = gateway.memory();
  const peers = await mute(t, gateway, 6, 'pings');
  const more = grown(gateway, before);
  // 3 million bytes of pongs in 6 queues: a buffer each would be 800 MiB.
  assert.ok(more < 48 * MIB, `${more / MIB} MiB more`);
  peers.kill();
  await until(async () => (await gateway.metric('connections')) <= 3, 'nothing is left');
  await notices();
});

test('slow readers, each of a channel of its own: others publish on', async (t) => {
  const { gateway, notices } = await begin(t, { queue_max_age: '1h', ping_interval: '1h' });
  const count = 100;
  const peers = await mute(t, gateway, count, 'subscribe');
  const channels = range(0, count - 1).map((n) => `live:mute${n}`);
  // 100 MiB wait for them, each within his limit; what one shard may be behind with
  // another is 64 MiB, and nobody here is behind.
  for (const n of range(1, 40)) {
    const { responses } = await gateway.ask('broadcast', { channels, data: 'x'.repeat(32 << 10) + n });
    assert.deepEqual(responses.filter(({ error }) => error), []);
    if ((await gateway.metric('client_slow_disconnects')) > 0) break;
  }
  peers.kill();
  await notices();
});

test('small publications to slow readers cost what they are long', async (t) => {
  const { gateway, notices } = await begin(t, { queue_max_age: '1h', ping_interval: '1h' });
  const count = 20;
  const peers = await mute(t, gateway, count, 'subscribe');
  const before = gateway.memory();
  const broadcast = { channels: range(0, count - 1).map((n) => `live:mute${n}`), data: 'x' };
  // A letter and a buffer for each of half a million would be 300 MiB.
  for (let round = 0; round < 130; round++)
    await gateway.ask('batch', { commands: range(1, 200).map(() => ({ broadcast })) });
  const more = grown(gateway, before);
  assert.ok(more < 64 * MIB, `${more / MIB} MiB more`);
  peers.kill();
  await notices();
});
