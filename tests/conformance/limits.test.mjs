// Every limit of a client: at it, one below, one above; and what many commands
// at once do.
import assert from 'node:assert/strict';
import test from 'node:test';
import { away, connect, offsets, range, subscribe } from './client.mjs';
import { Gateway, SECRET, token, until } from './gateway.mjs';
import { frame, framesOf, open, openAs, openRaw } from './peer.mjs';
import { Redis } from './redis.mjs';

const LIMIT = 1 << 20;

/** A command line of exactly `size` bytes. */
function commandOf(size, id, channel) {
  const make = (data) => JSON.stringify({ id, publish: { channel, data } });
  return make('x'.repeat(size - make('').length));
}

async function limits(t, store) {
  const gateway = new Gateway({ shards: 3 });
  gateway.options.config = { ...store(gateway), log: { level: 'info' },
    client: { token: { hmac_secret_key: SECRET }, allowed_origins: ['*'], history_max_publication_limit: 10000 },
    channel: { namespaces: [{ name: 'chat', history_size: 10000, history_ttl: '300s', force_recovery: true,
      allow_subscribe_for_client: true, allow_publish_for_client: true, allow_history_for_client: true },
    { name: 'live', allow_subscribe_for_client: true }] },
    websocket: { message_size_limit: LIMIT } };
  t.after(() => gateway.end());
  await gateway.start();

  await t.test('messages one below and at the size limit pass, one above is 1009', async () => {
    for (const [size, code] of [[LIMIT - 1, null], [LIMIT, null], [LIMIT + 1, 1009]]) {
      const peer = await openAs(gateway, 'big');
      peer.socket.send(commandOf(size, 2, 'chat:big'));
      if (code === null) assert.ok((await peer.reply(2)).publish, `${size}`);
      else { await peer.end(); assert.equal(peer.closed.code, code); }
      peer.socket.terminate();
    }
  });

  await t.test('so do split ones, whose frames are each below it', async () => {
    for (const [size, code] of [[LIMIT - 1, null], [LIMIT, null], [LIMIT + 1, 1009]]) {
      const peer = await openAs(gateway, 'split');
      const text = commandOf(size, 2, 'chat:split');
      for (let at = 0; at < size; at += 60000)
        peer.socket.send(text.slice(at, at + 60000), { fin: at + 60000 >= size });
      if (code === null) assert.ok((await peer.reply(2)).publish, `${size}`);
      else { await peer.end(); assert.equal(peer.closed.code, code); }
      peer.socket.terminate();
    }
  });

  await t.test('a frame far above the limit is refused by its header; the close code arrives', async () => {
    const peer = await openAs(gateway, 'huge');
    peer.socket.send(Buffer.alloc(32 << 20, 'x'), { binary: false });
    await peer.end();
    assert.deepEqual(peer.closed, { code: 1009, reason: 'message size limit' });
  });

  await t.test('1,024 commands in one frame are fine, one more is 3501', async () => {
    for (const extra of [0, 1]) {
      const peer = await openAs(gateway, 'many');
      peer.send(...range(2, 1025 + extra).map((id) => ({ id, publish: { channel: `chat:frame${id % 50}`, data: id } })));
      if (extra === 0) {
        await until(() => peer.messages.filter((message) => message.publish).length === 1024, 'all were answered');
      } else {
        await peer.end();
        assert.equal(peer.closed.code, 3501);
      }
      peer.socket.terminate();
    }
  });

  await t.test('a frame whose commands had to wait is counted on', async () => {
    const raw = await openRaw(gateway, { id: 1, connect: { token: token({ sub: 'counted' }) } });
    const of = (first, count) => frame(range(first, first + count - 1)
      .map((id) => JSON.stringify({ id, publish: { channel: 'chat:counted', data: id } })).join('\n'));
    raw.socket.write(Buffer.concat([of(2, 1000), of(2000, 1030)]));
    await until(() => framesOf(raw.received).at(-1)?.opcode === 8, 'the gateway closed');
    assert.equal(framesOf(raw.received).at(-1).payload.readUInt16BE(0), 3501);
    raw.socket.destroy();
  });

  await t.test('5,000 pipelined publications: all answered in order of their channel, nothing lost', async () => {
    const peer = await openAs(gateway, 'pipe');
    peer.send({ id: 2, subscribe: { channel: 'chat:pipe' } });
    await peer.reply(2);
    for (let at = 0; at < 5000; at += 1000)
      peer.send(...range(at + 10, at + 1009).map((id) => ({ id, publish: { channel: 'chat:pipe', data: id } })));
    await until(() => peer.pushes('chat:pipe').length === 5000, 'all came back');
    await until(() => peer.messages.filter((message) => message.publish).length === 5000, 'all were answered');
    assert.deepEqual(offsets(peer.pushes('chat:pipe')), range(1, 5000));
    assert.deepEqual(peer.pushes('chat:pipe').map((pub) => pub.data), range(10, 5009));
    assert.deepEqual(peer.messages.filter((message) => message.publish).map((message) => message.id), range(10, 5009));
    const { publications } = await gateway.ask('history', { channel: 'chat:pipe', limit: -1 });
    assert.deepEqual(offsets(publications), range(1, 5000));
    peer.socket.terminate();
  });

  await t.test('10 SDK clients publish 500 each into one channel: one order for everybody', async (t) => {
    const clients = await Promise.all(range(1, 10).map((n) => connect(gateway, `crowd${n}`)));
    const feeds = await Promise.all(clients.map((client) => subscribe(client, 'chat:crowd')));
    t.after(() => clients.forEach(({ centrifuge }) => centrifuge.disconnect()));
    await Promise.all(clients.map(async ({ centrifuge, user }) => {
      for (let i = 0; i < 500; i += 50)
        await Promise.all(range(i + 1, i + 50).map((n) => centrifuge.publish('chat:crowd', `${user}:${n}`)));
    }));
    await until(() => feeds.every((feed) => feed.publications.length >= 5000), 'everybody has all');
    const first = feeds[0].publications.map((p) => p.data);
    for (const feed of feeds) {
      assert.deepEqual(offsets(feed.publications), range(1, 5000));
      assert.deepEqual(feed.publications.map((p) => p.data), first);
    }
    for (const { user } of clients)
      assert.deepEqual(first.filter((text) => text.startsWith(`${user}:`)), range(1, 500).map((n) => `${user}:${n}`));
  });

  await t.test('subscribe, publish and unsubscribe in one frame', async () => {
    const peer = open(gateway);
    await peer.ready;
    peer.send({ id: 1, connect: { token: token({ sub: 'once' }) } }, { id: 2, subscribe: { channel: 'chat:once' } },
      { id: 3, publish: { channel: 'chat:once', data: 1 } }, { id: 4, publish: { channel: 'chat:once', data: 2 } },
      { id: 5, subscribe: { channel: 'chat:two' } }, { id: 6, unsubscribe: { channel: 'chat:two' } },
      { id: 7, publish: { channel: 'chat:two', data: 3 } });
    await Promise.all(range(1, 7).map((id) => peer.reply(id)));
    await until(() => peer.pushes('chat:once').length === 2, 'its own publications came');
    assert.deepEqual(peer.pushes('chat:once').map((pub) => pub.data), [1, 2]);
    assert.deepEqual(peer.pushes('chat:two'), []);
    const at = (find) => peer.messages.findIndex(find);
    assert.ok(at((message) => message.id === 2) < at((message) => message.push?.channel === 'chat:once'));
    peer.socket.terminate();
  });

  await t.test('an unsubscribe that overtakes its subscribe: a temporary error, the next one holds', async () => {
    const peer = await openAs(gateway, 'hasty');
    peer.send({ id: 2, subscribe: { channel: 'chat:hasty' } }, { id: 3, unsubscribe: { channel: 'chat:hasty' } },
      { id: 4, subscribe: { channel: 'chat:hasty' } });
    assert.equal((await peer.reply(2)).error.temporary, true);
    assert.deepEqual((await peer.reply(3)).unsubscribe, {});
    assert.equal((await peer.reply(4)).subscribe.recoverable, true);
    await gateway.ask('publish', { channel: 'chat:hasty', data: 1 });
    await until(() => peer.pushes('chat:hasty').length > 0, 'it receives');
    assert.deepEqual(offsets(peer.pushes('chat:hasty')), [1]);
    peer.socket.terminate();
  });

  await t.test('leaving and coming back at once while publications flow: no gap, nothing twice', async (t) => {
    const client = await connect(gateway, 'jumper');
    const writer = await connect(gateway, 'writer');
    t.after(() => [client, writer].forEach(({ centrifuge }) => centrifuge.disconnect()));
    const feed = await subscribe(client, 'chat:jump');
    let on = true, written = 0;
    const flow = (async () => { while (on) { await writer.centrifuge.publish('chat:jump', ++written); } })();
    for (let i = 0; i < 100; i++) {
      const before = feed.subscribed.length;
      feed.subscription.unsubscribe();
      feed.subscription.subscribe();
      if (i % 4 === 0) { feed.subscription.unsubscribe(); feed.subscription.subscribe(); }
      await until(() => feed.subscribed.length > before, `round ${i}`);
    }
    on = false;
    await flow;
    await until(() => feed.publications.at(-1)?.offset === written, 'the last one came');
    assert.equal(feed.subscription.state, 'subscribed');
    // A subscription that the application ended starts anew: each stretch begins
    // right after the position its reply named, and has no hole.
    let last = 0;
    for (const { offset } of feed.publications) {
      assert.ok(offset > last, `${offset} after ${last}`);
      if (offset !== last + 1)
        assert.ok(feed.subscribed.some((context) => (context.streamPosition?.offset ?? 0) === offset - 1 ),
          `${offset} after ${last} without a subscription that began there`);
      last = offset;
    }
  });

  await t.test('back to 30 channels with 20 MiB missed, twenty times its queue: everything recovers', async (t) => {
    const client = await connect(gateway, 'traveller', { timeout: 15000 });
    t.after(() => client.centrifuge.disconnect());
    const names = range(1, 30).map((n) => `chat:travel${n}`);
    const feeds = await Promise.all(names.map((name) => subscribe(client, name)));
    const data = 't'.repeat(7000);
    await away(client, async () => {
      for (let i = 0; i < 100; i++) await Promise.all(names.map((channel) => gateway.ask('publish', { channel, data })));
    });
    // Live ones arrive behind what was missed.
    await Promise.all(names.map((channel) => gateway.ask('publish', { channel, data: 'live' })));
    await until(() => feeds.every((feed) => feed.publications.length === 101), 'all came');
    for (const feed of feeds) {
      assert.deepEqual(offsets(feed.publications), range(1, 101));
      assert.equal(feed.subscribed.at(-1).recovered, true);
    }
    assert.equal(client.connects, 2);
  });

  const main = gateway;
  await t.test('a reader that stops is ended with 3008, alone, and memory stays bounded', async (t) => {
    // One of its own, without a store: the other still writes what came before, and grows by that.
    const gateway = await new Gateway({ shards: 3, config: { ...main.options.config, storage: { engine: 'memory' } } }).start();
    t.after(() => gateway.end());
    const witness = await connect(gateway, 'witness');
    const slow = await openRaw(gateway, { id: 1, connect: { token: token({ sub: 'slow' }) } },
      { id: 2, subscribe: { channel: 'live:flood' } });
    t.after(() => { witness.centrifuge.disconnect(); slow.socket.destroy(); });
    const feed = await subscribe(witness, 'live:flood');
    await until(() => slow.received.includes('"subscribe"'), 'the slow one is subscribed');
    const filler = 'y'.repeat(64 << 10);
    for (let i = 0; i < 100; i++) await gateway.ask('publish', { channel: 'live:warm', data: filler });
    slow.socket.pause();
    const before = gateway.memory();
    const isTold = async () => /slow[^\n]* 1\n/.test(await (await fetch(`${gateway.http}/metrics`)).text());
    for (let i = 0; i < 300; i++) {
      await gateway.ask('publish', { channel: 'live:flood', data: { number: i + 1, filler } });
      // It has 5 s to read what is there and the close frame behind it.
      if (i % 10 === 9 && slow.socket.isPaused() && await isTold()) slow.socket.resume();
    }
    await until(() => feed.publications.length === 300, 'the other has everything');
    assert.deepEqual(feed.publications.map(({ data }) => data.number), range(1, 300));
    assert.equal(slow.socket.isPaused(), false, 'nobody was told that it is slow');
    await until(() => slow.isEnded, 'the slow one is closed');
    const frames = framesOf(slow.received);
    const goodbye = frames.at(-1);
    assert.equal(goodbye.opcode, 8);
    assert.equal(goodbye.payload.readUInt16BE(0), 3008);
    // Up to there nothing is missing.
    const got = frames.slice(0, -1).flatMap(({ payload }) => String(payload).split('\n').map((line) => JSON.parse(line)))
      .filter((message) => message.push?.pub).map((message) => message.push.pub.data.number);
    assert.deepEqual(got, range(1, got.length));
    // 19 MiB went by and none of it is kept; the queue of one client is 1 MiB.
    const grown = gateway.memory() - before;
    if (gateway.isMeasurable) assert.ok(grown < 12 << 20, `${grown >> 20} MiB more`);
    assert.equal(witness.connects, 1);
    t.diagnostic(`${grown >> 20} MiB more`);
  });

  await t.test('bytes of one frame at a time, and many frames at once', async () => {
    const raw = await openRaw(gateway);
    const line = JSON.stringify({ id: 1, connect: { token: token({ sub: 'drip' }) } });
    for (const byte of frame(line)) { raw.socket.write(Buffer.from([byte])); await new Promise((done) => setImmediate(done)); }
    await until(() => raw.received.includes('"connect"'), 'connected byte by byte');
    raw.socket.write(Buffer.concat(range(2, 401).map((id) => frame(JSON.stringify({ id, publish: { channel: 'chat:drip', data: id } })))));
    await until(() => (String(raw.received).match(/"publish"/g) ?? []).length === 400, 'all were answered');
    raw.socket.destroy();
  });

  await t.test('it ends cleanly', async () => {
    assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
  });
}

test('embedded', (t) => limits(t, (gateway) => ({ storage: { engine: 'embedded', path: `${gateway.dir}/data` } })));
test('redis', async (t) => {
  const redis = await new Redis().start();
  t.after(() => redis.end());
  await limits(t, () => ({ storage: { engine: 'redis' }, redis: redis.patient }));
});
