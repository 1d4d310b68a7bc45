// The official SDK on the Protobuf wire, alone and in one channel with JSON clients.
import assert from 'node:assert/strict';
import test from 'node:test';
import WebSocket from 'ws';
import { away, connect, offsets, range, subscribe } from './client.mjs';
import { Gateway, NAMESPACES, SECRET, token, until } from './gateway.mjs';

const open = { allow_subscribe_for_client: true, allow_publish_for_client: true };
const config = {
  channel: {
    namespaces: [...NAMESPACES,
      { name: 'strict', ...open, publication_data_format: 'json' },
      { name: 'object', ...open, publication_data_format: 'json_object' },
      { name: 'binary', ...open, publication_data_format: 'binary' }],
  },
};
const bytes = (...values) => Uint8Array.from(values);

for (const shards of [1, 4]) {
  test(`Protobuf on ${shards} shards`, async (t) => {
    const gateway = new Gateway({ shards, config });
    t.after(() => gateway.end());
    await gateway.start();
    const clients = [];
    const join = async (user, wire, options = {}) => {
      const client = await connect(gateway, user, { wire, ...options });
      clients.push(client);
      return client;
    };
    t.after(() => clients.forEach((client) => client.centrifuge.disconnect()));
    const binary = await join('binary', 'protobuf');
    const text = await join('text', 'json');

    await t.test('both wires hear both in one channel, with tags, info and offsets', async () => {
      const feeds = [await subscribe(binary, 'chat:mixed'), await subscribe(text, 'chat:mixed')];
      await binary.centrifuge.publish('chat:mixed', { n: 1, of: 'ä\n' });
      await text.centrifuge.publish('chat:mixed', { n: 2 });
      await gateway.ask('publish', { channel: 'chat:mixed', data: { n: 3 }, tags: { k: 'v\n', ä: '' } });
      for (const feed of feeds) {
        await until(() => feed.publications.length === 3, 'three arrived');
        assert.deepEqual(offsets(feed.publications), range(1, 3));
        assert.deepEqual(feed.publications.map((p) => p.data), [{ n: 1, of: 'ä\n' }, { n: 2 }, { n: 3 }]);
        assert.deepEqual(feed.publications.map((p) => p.info?.user), ['binary', 'text', undefined]);
        assert.equal(feed.publications[0].info.client, binary.id);
        assert.deepEqual({ ...feed.publications[2].tags }, { k: 'v\n', ä: '' });
      }
    });

    await t.test('away for 50, back with exactly those', async () => {
      const feed = await subscribe(binary, 'chat:away');
      await gateway.ask('publish', { channel: 'chat:away', data: 1 });
      await until(() => feed.publications.length === 1, 'the first arrived');
      await away(binary, async () => {
        for (let i = 2; i <= 51; i++) await gateway.ask('publish', { channel: 'chat:away', data: i });
      });
      await until(() => feed.publications.length >= 51, 'what was missed arrived');
      assert.equal(feed.subscribed.at(-1).recovered, true);
      assert.deepEqual(feed.publications.map((p) => p.data), range(1, 51));
      assert.deepEqual(offsets(feed.publications), range(1, 51));
    });

    await t.test('history, errors and RPC', async () => {
      const page = await binary.centrifuge.history('chat:away', { limit: 3, since: { offset: 10, epoch: '' } });
      assert.deepEqual(offsets(page.publications), [11, 12, 13]);
      assert.equal(page.offset, 51);
      assert.equal(page.epoch.length > 0, true);
      await assert.rejects(binary.centrifuge.publish('closed:room', 1), { code: 103, message: 'permission denied' });
      await assert.rejects(binary.centrifuge.publish('nowhere:room', 1), { code: 102 });
      await assert.rejects(binary.centrifuge.publish('chat:away', bytes()), { code: 107 });
      await assert.rejects(binary.centrifuge.rpc('no.such', {}), { code: 108 });
      await assert.rejects(binary.centrifuge.rpc('message.unsend', {}), { code: 104 });
      const sent = await binary.centrifuge.rpc('message.send', { channel: 'chat:away', data: 52, key: 'k' });
      assert.equal(sent.data.offset, 52);
      const again = await text.centrifuge.rpc('message.send', { channel: 'chat:away', data: 53, key: 'k' });
      assert.equal(again.data.offset, 53); // another user's key
    });

    await t.test('who leaves hears nothing more, and may come back', async () => {
      const feed = await subscribe(binary, 'live:left');
      const other = await subscribe(text, 'live:left');
      await feed.subscription.publish(1);
      await until(() => feed.publications.length === 1 && other.publications.length === 1, 'both have it');
      feed.subscription.unsubscribe();
      await other.subscription.publish(2);
      await until(() => other.publications.length === 2, 'one has it');
      feed.subscription.subscribe();
      await until(() => feed.subscribed.length === 2, 'subscribed again');
      other.subscription.unsubscribe();
      await feed.subscription.publish(3);
      await until(() => feed.publications.length === 2, 'the other has it');
      assert.deepEqual(feed.publications.map((p) => p.data), [1, 3]);
      assert.deepEqual(other.publications.map((p) => p.data), [1, 2]);
    });

    await t.test('data that is not JSON ends the JSON listener alone', async () => {
      const feed = await subscribe(binary, 'chat:opaque', { raw: true });
      const victim = await join('victim', 'json');
      const gone = new Promise((done) => victim.centrifuge.once('disconnected', done));
      await subscribe(victim, 'chat:opaque');
      await binary.centrifuge.publish('chat:opaque', bytes(0, 255, 10));
      assert.deepEqual({ ...(await gone) }, { code: 3506, reason: 'inappropriate protocol' });
      await gateway.ask('publish', { channel: 'chat:opaque', b64data: Buffer.from([1, 128]).toString('base64') });
      await gateway.ask('publish', { channel: 'chat:opaque', data: { is: 'JSON' } });
      await until(() => feed.publications.length === 3, 'all three arrived');
      assert.deepEqual([...feed.publications[0].data], [0, 255, 10]);
      assert.deepEqual([...feed.publications[1].data], [1, 128]);
      assert.equal(new TextDecoder().decode(feed.publications[2].data), '{"is":"JSON"}');
      const { publications } = await gateway.ask('history', { channel: 'chat:opaque', limit: -1 });
      assert.deepEqual(publications.map((p) => p.b64data ?? p.data), ['AP8K', 'AYA=', { is: 'JSON' }]);
      assert.equal(text.centrifuge.state, 'connected');
    });

    await t.test('so do answers that would contain it: history and recovery', async () => {
      const page = await binary.centrifuge.history('chat:opaque', { limit: 2 });
      assert.deepEqual([...page.publications[1].data], [1, 128]);
      const reader = await join('reader', 'json');
      const { publications } = await reader.centrifuge.history('chat:opaque', { limit: 9, since: { offset: 2, epoch: '' } });
      assert.deepEqual(publications[0].data, { is: 'JSON' });
      const ended = new Promise((done) => reader.centrifuge.once('disconnected', done));
      reader.centrifuge.history('chat:opaque', { limit: 3 }).catch(() => {});
      assert.equal((await ended).code, 3506);
      const late = await join('late', 'json');
      const over = new Promise((done) => late.centrifuge.once('disconnected', done));
      late.centrifuge.newSubscription('chat:opaque', { since: { offset: 1, epoch: page.epoch } }).subscribe();
      assert.equal((await over).code, 3506);
    });

    await t.test('publication_data_format refuses with 107, by either wire and the API', async () => {
      await assert.rejects(binary.centrifuge.publish('strict:a', bytes(255)), { code: 107 });
      await binary.centrifuge.publish('strict:a', bytes(0x5b, 0x5d));
      for (const client of [binary, text]) {
        await assert.rejects(client.centrifuge.publish('object:a', [1]), { code: 107 });
        await client.centrifuge.publish('object:a', { a: 1 });
      }
      const error = async (body) => (await gateway.api('publish', body)).error?.code;
      assert.equal(await error({ channel: 'strict:a', b64data: '/w==' }), 107);
      assert.equal(await error({ channel: 'object:a', data: 1 }), 107);
      assert.equal(await error({ channel: 'object:a', b64data: 'e30=' }), undefined);
      assert.equal(await error({ channel: 'chat:a', b64data: '=' }), 107);
      assert.equal(await error({ channel: 'chat:a' }), 107);
      const { responses } = await gateway.ask('broadcast', { channels: ['strict:a', 'binary:a'], b64data: '/w==' });
      assert.deepEqual(responses.map((response) => response.error?.code), [107, undefined]);
      const feeds = [await subscribe(binary, 'binary:a', { raw: true }), await subscribe(text, 'binary:a')];
      assert.equal(await error({ channel: 'binary:a' }), undefined);
      for (const feed of feeds) await until(() => feed.publications.length === 1, 'nothing arrived, as a publication');
      assert.equal(feeds[0].publications[0].data?.length ?? 0, 0);
    });

    await t.test('a token is renewed on the way', async () => {
      const claims = (seconds) => token({ sub: 'short', exp: Math.floor(Date.now() / 1000) + seconds });
      let asked = 0;
      const client = await join('short', 'protobuf', {
        token: claims(2), getToken: async () => { asked++; return claims(1000); } });
      await until(() => asked === 1, 'the SDK renewed its token');
      await client.centrifuge.rpc('receipt.unsend', {}).catch((error) => assert.equal(error.code, 104));
      assert.equal(client.connects, 1);
    });

    await t.test('nobody else was ended', () => {
      assert.equal(binary.centrifuge.state, 'connected');
      assert.equal(text.centrifuge.state, 'connected');
    });
  });
}

/** A bare Protobuf peer: notes messages (one a frame entry) and the close. */
function raw(gateway, path = '', protocols = []) {
  const socket = new WebSocket(gateway.url + path, protocols);
  const peer = { socket, frames: [], closed: null };
  socket.on('message', (data, isBinary) => peer.frames.push({ data, isBinary }));
  socket.on('close', (code) => { peer.closed = code; });
  socket.on('error', () => {});
  peer.ready = new Promise((done) => { socket.once('open', done); });
  return peer;
}

/** Protobuf by its rules: key and length, or key and number below 128. */
const sized = (field, data) => Buffer.concat([Buffer.from([field * 8 + 2]), varint(data.length), Buffer.from(data)]);
const small = (field, value) => Buffer.from([field * 8, value]);
const varint = (value) => (value < 128 ? Buffer.from([value])
  : Buffer.concat([Buffer.from([value % 128 + 128]), varint(Math.floor(value / 128))]));
const message = (...fields) => {
  const body = Buffer.concat(fields);
  return Buffer.concat([varint(body.length), body]);
};
const hello = () => message(small(1, 1), sized(4, sized(1, token({ sub: 'raw' }))));

test('the Protobuf wire, byte by byte', async (t) => {
  const gateway = new Gateway({ shards: 2 });
  const pinging = new Gateway({ shards: 2, config: {
    client: { token: { hmac_secret_key: SECRET }, ping_interval: '2s', pong_timeout: '1900ms' } } });
  t.after(() => Promise.all([gateway.end(), pinging.end()]));
  await Promise.all([gateway.start(), pinging.start()]);

  await t.test('three ways to ask for it; frames are binary', async () => {
    for (const [path, protocols, chosen] of [['', ['centrifuge-protobuf'], 'centrifuge-protobuf'],
      ['?format=protobuf', [], ''], ['?cf_protocol=protobuf&cf_protocol_version=v2', [], '']]) {
      const peer = raw(gateway, path, protocols);
      await peer.ready;
      assert.equal(peer.socket.protocol, chosen);
      peer.socket.send(hello());
      await until(() => peer.frames.length > 0, 'the reply came');
      assert.equal(peer.frames[0].isBinary, true);
      assert.deepEqual([...peer.frames[0].data.subarray(1, 3)], [0x08, 0x01]);
      peer.socket.terminate();
    }
  });

  await t.test('the ping is one zero byte; so is the pong; without it 3012', async () => {
    const peer = raw(pinging, '?format=protobuf');
    await peer.ready;
    peer.socket.send(hello());
    const pings = () => peer.frames.filter(({ data }) => data.length === 1 && data[0] === 0);
    await until(() => pings().length === 1, 'a ping came');
    peer.socket.send(Buffer.from([0]));
    await until(() => pings().length === 2, 'the next came');
    await until(() => peer.closed, 'the gateway closed');
    assert.equal(peer.closed, 3012);
  });

  const subscribe = (tf) => message(small(1, 2), sized(5, Buffer.concat([sized(1, 'chat:ab'), tf])));
  let filter = sized(1, 'x'.repeat(2232));
  for (let depth = 1; depth < 17000; depth++) filter = sized(6, filter);
  const deep = subscribe(sized(13, filter));
  assert.equal(deep.length, 65536); // websocket.message_size_limit lets it in
  const cases = [
    ['an empty frame', 3501, hello(), Buffer.alloc(0)],
    ['a pong that nobody asked for', 3501, hello(), Buffer.from([0])],
    ['a length beyond the frame', 3501, Buffer.from([5, 8, 1])],
    ['a command without an id', 3501, hello(), message(sized(13, []))],
    ['an id and nothing else', 3501, hello(), message(small(1, 2))],
    ['a channel that is not UTF-8', 3501, hello(), message(small(1, 2), sized(6, sized(1, [255])))],
    ['64 KB with 17,000 filters in each other', 3501, hello(), deep],
    ['the same before the connect command', 3501, deep],
    ['send, which nothing takes', 3508, hello(), message(sized(12, sized(1, 'x')))],
    ['JSON where Protobuf was agreed', 3501, Buffer.from('{"id":1,"connect":{}}')],
  ];
  for (const [name, code, ...frames] of cases)
    await t.test(`${name} → ${code}`, async () => {
      const peer = raw(gateway, '?format=protobuf');
      await peer.ready;
      for (const frame of frames) peer.socket.send(frame);
      await until(() => peer.closed, 'the gateway closed');
      assert.equal(peer.closed, code);
    });

  await t.test('the opcode of a frame does not matter to the gateway', async () => {
    const peer = raw(gateway, '?format=protobuf');
    await peer.ready;
    peer.socket.send(hello(), { binary: false });
    await until(() => peer.frames.length > 0, 'the reply came');
    peer.socket.send(message(small(1, 2), sized(11, [])), { binary: false });
    await until(() => peer.frames.length > 1, 'the command ping was answered');
    assert.deepEqual([...peer.frames[1].data], [...message(small(1, 2),
      sized(2, Buffer.concat([small(1, 108), sized(2, 'not available')])))]);
    peer.socket.terminate();
    const json = raw(gateway);
    await json.ready;
    json.socket.send(Buffer.from(JSON.stringify({ id: 1, connect: { token: token({ sub: 'u' }) } })));
    await until(() => json.frames.length > 0, 'the reply came');
    assert.equal(json.frames[0].isBinary, false);
    json.socket.terminate();
  });
});
