// Limits on who comes in and how fast: at each, below and above, on one shard and
// on four; and a thousand peers at once that send or read too slowly.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { connect as connectTcp } from 'node:net';
import test from 'node:test';
import { connect, offsets, range, subscribe } from './client.mjs';
import { Gateway, SECRET, until } from './gateway.mjs';
import { open, openAs, openRaw } from './peer.mjs';

const memory = (client, more = {}) => ({ storage: { engine: 'memory' },
  http_server: { address: '127.0.0.1', header_timeout: '1m' },
  client: { token: { hmac_secret_key: SECRET }, insecure: true, stale_close_delay: '1h', ...client }, ...more });

async function begin(t, shards, config) {
  const gateway = new Gateway({ shards, config });
  t.after(() => gateway.end());
  return gateway.start();
}

const everybody = [];
const stop = (gateway) => { everybody.splice(0).forEach((peer) => peer.socket.destroy()); return gateway.stop(); };

/** Upgrades `count` at once; returns those that are open, and the statuses of the others. */
async function crowd(gateway, count) {
  const peers = await Promise.all(range(1, count).map(() => openRaw(gateway)));
  const status = (peer) => Number(/^HTTP\/1\.1 (\d+)/.exec(peer.head)[1]);
  const refused = peers.filter((peer) => status(peer) !== 101);
  refused.forEach((peer) => peer.socket.destroy());
  everybody.push(...peers);
  return { entered: peers.filter((peer) => status(peer) === 101), refused };
}

for (const shards of [1, 4])
  test(`admission on ${shards} shards`, async (t) => {
    await t.test('connection_limit: exactly so many, whatever their shard', async (t) => {
      const gateway = await begin(t, shards, memory({ connection_limit: 40 }));
      const below = await crowd(gateway, 39);
      assert.equal(below.entered.length, 39);
      const above = await crowd(gateway, 30);
      assert.equal(above.entered.length, 1);
      for (const peer of above.refused) {
        assert.match(peer.head, /^HTTP\/1\.1 503 /);
        assert.match(peer.head, /^Retry-After: 1\r$/m);
      }
      assert.equal(await gateway.metric('node_client_connection_limit'), 29);
      // Who leaves makes room, at once for whoever saw him leave.
      for (let round = 0; round < 10; round++) {
        const peer = below.entered.pop();
        peer.socket.destroy();
        const next = await until(async () => (await crowd(gateway, 1)).entered[0], 'its place is free');
        below.entered.push(next);
      }
      assert.equal((await crowd(gateway, 5)).entered.length, 0);
      const all = [...below.entered, ...above.entered];
      all.forEach((peer) => peer.socket.destroy());
      await until(async () => (await gateway.metric('connections')) <= 6, 'all are gone');
      assert.equal((await crowd(gateway, 100)).entered.length, 40);
      // The limit is about connections of clients: backends come through.
      assert.equal((await gateway.ask('info', {})).nodes[0].num_clients, 0);
      assert.deepEqual(await stop(gateway), { code: 0, signal: null });
    });

    await t.test('connection_rate_limit: a second\'s worth at once, then as they come', async (t) => {
      const gateway = await begin(t, shards, memory({ connection_rate_limit: 20 }));
      const began = Date.now();
      const { entered, refused } = await crowd(gateway, 60);
      const most = 20 + Math.ceil((Date.now() - began) / 1000 * 20) + 1;
      assert.ok(entered.length >= 20 && entered.length <= most, `${entered.length}, at most ${most}`);
      for (const peer of refused) assert.match(peer.head, /^HTTP\/1\.1 503 /);
      await until(async () => (await crowd(gateway, 1)).entered.length === 1, 'a later one comes in');
      assert.deepEqual(await stop(gateway), { code: 0, signal: null });
    });

    await t.test('no limit: nobody is counted', async (t) => {
      const gateway = await begin(t, shards, memory({}));
      assert.equal((await crowd(gateway, 200)).entered.length, 200);
      assert.deepEqual(await stop(gateway), { code: 0, signal: null });
    });
  });

test('commands and channels of one client', async (t) => {
  const gateway = await begin(t, 2, { storage: { engine: 'memory' },
    client: { token: { hmac_secret_key: SECRET }, command_rate_limit: 10, channel_limit: 4 } });

  await t.test('command_rate_limit: ten a second, the next is 111 and temporary, and none lasts', async () => {
    const peer = await openAs(gateway, 'quick');
    // Connect was the first of the ten.
    peer.send(...range(2, 40).map((id) => ({ id, publish: { channel: 'chat:quick', data: id } })));
    await peer.reply(40);
    const replies = await Promise.all(range(2, 40).map((id) => peer.reply(id)));
    const fine = replies.filter((reply) => reply.publish).length;
    assert.ok(fine >= 9 && fine <= 20, `${fine} of 39`);
    for (const { error } of replies.filter((reply) => reply.error)) {
      assert.deepEqual([error.code, error.temporary], [111, true]);
    }
    assert.equal(await gateway.metric('client_command_rate_limited'), 39 - fine);
    let id = 100;
    await until(async () => {
      peer.send({ id: ++id, publish: { channel: 'chat:quick', data: id } });
      return (await peer.reply(id)).publish;
    }, 'a later one is fine');
    assert.equal(peer.closed, null);
    // Pongs are free: nobody is refused for answering.
    const slow = await openAs(gateway, 'slow');
    slow.send({ id: 2, publish: { channel: 'chat:quick', data: 1 } });
    assert.ok((await slow.reply(2)).publish);
    for (const one of [peer, slow]) one.socket.terminate();
  });

  await t.test('channel_limit: four are fine, the fifth is 106, one less and it is fine', async () => {
    const peer = await openAs(gateway, 'many');
    peer.send(...range(2, 6).map((id) => ({ id, subscribe: { channel: `chat:c${id}` } })));
    assert.equal((await peer.reply(6)).error.code, 106);
    for (const id of range(2, 5)) assert.ok((await peer.reply(id)).subscribe);
    peer.send({ id: 7, unsubscribe: { channel: 'chat:c2' } }, { id: 8, subscribe: { channel: 'chat:c6' } });
    assert.ok((await peer.reply(8)).subscribe);
    assert.equal(await gateway.metric('client_channel_limit_errors'), 1);
    peer.socket.terminate();
  });
});

test('a thousand at once', async (t) => {
  const options = { queue_max_age: '1s', queue_max_size: '64MiB' };
  const gateway = await begin(t, 2, memory(options));
  /** From here on: who keeps the rules, of clients or of this test, has its minute. */
  const become = async (client, http) => {
    gateway.options.config = memory({ ...options, ...client }, { http_server: { address: '127.0.0.1', header_timeout: '1m', ...http } });
    assert.match(await gateway.reload(), /reloaded/);
  };
  const witness = await connect(gateway, 'witness');
  t.after(() => witness.centrifuge.disconnect());
  const feed = await subscribe(witness, 'chat:witness');
  const quiet = async () => (await gateway.metric('connections')) <= 10;

  await t.test('slow headers: all are 408', async () => {
    await become({}, { header_timeout: '2s' });
    const peers = range(1, 1000).map(() => {
      const peer = { socket: connectTcp({ port: gateway.port, host: '127.0.0.1' }), text: '', isOver: false };
      peer.socket.on('data', (bytes) => { peer.text += bytes; });
      peer.socket.on('error', () => {});
      peer.socket.on('close', () => { peer.isOver = true; });
      peer.socket.write('GET /connection/websocket HTTP/1.1\r\nHost: a\r\nX-Slow: ');
      return peer;
    });
    const drip = setInterval(() => peers.forEach((peer) => { if (!peer.isOver) peer.socket.write('x'); }), 500);
    t.after(() => clearInterval(drip));
    await until(() => peers.every((peer) => peer.isOver), 'all are closed');
    clearInterval(drip);
    assert.equal(peers.filter((peer) => peer.text.startsWith('HTTP/1.1 408 ')).length, 1000);
    assert.equal(await gateway.metric('http_request_timeouts_total'), 1000);
    await until(quiet, 'nothing is left');
  });

  await t.test('upgraded and silent: all are 3502', async () => {
    await become({ stale_close_delay: '1s' });
    const { entered } = await crowd(gateway, 1000);
    assert.equal(entered.length, 1000);
    await until(() => entered.every((peer) => peer.received.length >= 4), 'all are told');
    for (const peer of entered) assert.equal(peer.received.readUInt16BE(2), 3502);
    entered.forEach((peer) => peer.socket.destroy());
    assert.equal(await gateway.metric('client_stale_disconnects'), 1000);
    await until(quiet, 'nothing is left');
  });

  await t.test('slow readers: all are 3008 by age, long before their queue is full', async (t) => {
    await become({});
    const readers = spawn('/usr/bin/python3', [new URL('slow_readers.py', import.meta.url).pathname, String(gateway.port), '1000'],
      { stdio: ['pipe', 'pipe', 'inherit'] });
    t.after(() => readers.kill());
    let said = '';
    readers.stdout.on('data', (bytes) => { said += bytes; });
    await until(() => /subscribed/.test(said), 'they are subscribed');
    const before = gateway.memory();
    for (const n of range(1, 40)) await gateway.ask('publish', { channel: 'live:slow', data: 'y'.repeat(32 << 10) + n });
    await gateway.ask('publish', { channel: 'chat:witness', data: 1 });
    await until(async () => (await gateway.metric('client_slow_disconnects')) === 1000, 'all are told');
    const grown = gateway.memory() - before;
    t.diagnostic(`${grown >> 20} MiB more`);
    if (gateway.isMeasurable) assert.ok(grown < 64 << 20, 'a queue holds what is shared, not copies');
    // The goodbye is what they read last; 5 s are theirs for it.
    readers.stdin.write('read\n');
    const codes = JSON.parse((await until(() => /codes (.*)\n/.exec(said), 'they have read'))[1]);
    assert.deepEqual(Object.keys(codes).filter((code) => code !== 'none' && code !== '3008'), [], said);
    assert.ok(codes[3008] > 0, said);
    await until(quiet, 'nothing is left');
  });

  await t.test('the witness noticed nothing', async () => {
    await gateway.ask('publish', { channel: 'chat:witness', data: 2 });
    await until(() => feed.publications.length === 2, 'it receives');
    assert.deepEqual(offsets(feed.publications), [1, 2]);
    assert.equal(witness.connects, 1);
    witness.centrifuge.disconnect();
    assert.deepEqual(await stop(gateway), { code: 0, signal: null });
  });
});

test('pings as frames', async (t) => {
  const gateway = await begin(t, 1, memory({ ping_interval: '2s', pong_timeout: '1900ms' }));
  const framed = open({ url: `${gateway.url}?cf_ws_frame_ping_pong=true` });
  let pings = 0;
  framed.socket.on('ping', () => { pings++; });
  await framed.ready;
  framed.send({ id: 1, connect: {} });
  const { connect: reply } = await framed.reply(1);
  assert.equal(reply.ping, undefined);
  assert.equal(reply.pong, undefined);
  // npm ws answers them by itself.
  await until(() => pings >= 2, 'pings came as frames');
  assert.equal(framed.closed, null);
  assert.deepEqual(framed.messages.filter((message) => Object.keys(message).length === 0), []);
  // A pong that nobody asked for is 3501, here as anywhere.
  framed.send({});
  await framed.end();
  assert.equal(framed.closed.code, 3501);

  const mute = open({ url: `${gateway.url}?cf_ws_frame_ping_pong=true` }, { autoPong: false });
  await mute.ready;
  mute.send({ id: 1, connect: {} });
  await mute.end();
  assert.equal(mute.closed.code, 3012);
  assert.equal(await gateway.metric('client_no_pong_disconnects'), 1);
});
