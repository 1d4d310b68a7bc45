// RFC 6455 by a table of our own, in the order of its sections: what a peer may
// do and is answered, and what it may not and hears at the first wrong byte.
// Everything goes to /debug/echo over a bare socket, so that each byte is ours.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import test from 'node:test';
import { range } from './client.mjs';
import { Gateway, SECRET, sleep, token, until } from './gateway.mjs';
import { frame, framesOf, open, openRaw } from './peer.mjs';

/** With peers that are busy with much for a while. */
const PATIENT = { token: { hmac_secret_key: SECRET }, ping_interval: '1h', queue_max_age: '1h' };
const TEXT = 1, BINARY = 2, MORE = 0, CLOSE = 8, PING = 9, PONG = 10;
const close = (code, reason = '') => frame(Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]), { opcode: CLOSE });
const codeOf = (payload) => (payload.length === 0 ? 1005 : payload.readUInt16BE(0));
/** What came, for comparing: text as text, binary as a Buffer, closes by code. */
const shown = (bytes) => framesOf(bytes).map(({ opcode, payload }) => (
  opcode === TEXT ? String(payload) : opcode === CLOSE ? { close: codeOf(payload) }
    : opcode === PONG ? { pong: String(payload) } : { [opcode]: payload.toString('hex') }));

const BEST = 'Hello-\u00b5@\u00df\u00f6\u00e4\u00fc\u00e0\u00e1-UTF-8!! \ud83d\ude00';
const big = (size) => Buffer.alloc(size, '*');

/** [name, what is sent (frames, or raw bytes), what comes back] */
const GOOD = [
  ['an empty text', [frame('')], ['']],
  ['an empty binary', [frame('', { opcode: BINARY })], [{ 2: '' }]],
  ...[125, 126, 127, 128, 65535, 65536].flatMap((size) => [
    [`a text of ${size}`, [frame(big(size))], [String(big(size))]],
    [`a binary of ${size}`, [frame(big(size).fill(0xfe), { opcode: BINARY })], [{ 2: 'fe'.repeat(size) }]],
  ]),
  ['text beyond ASCII', [frame(BEST)], [BEST]],
  ['pings with nothing, something and the most', ['', 'x', big(125)].map((p) => frame(p, { opcode: PING })), [{ pong: '' }, { pong: 'x' }, { pong: String(big(125)) }]],
  ['a binary ping', [frame(Buffer.from([0, 255, 254]), { opcode: PING })], [{ pong: String(Buffer.from([0, 255, 254])) }]],
  ['ten pings at once', range(1, 10).map((n) => frame(`p${n}`, { opcode: PING })), range(1, 10).map((n) => ({ pong: `p${n}` }))],
  ['pongs that nobody asked for', [frame('', { opcode: PONG }), frame('x', { opcode: PONG }), frame('after')], ['after']],
  ['two fragments', [frame('one', { fin: false }), frame('two', { opcode: MORE })], ['onetwo']],
  ['empty fragments', [frame('', { fin: false }), frame('', { opcode: MORE, fin: false }), frame('', { opcode: MORE })], ['']],
  ['a ping between fragments', [frame('a', { fin: false }), frame('p', { opcode: PING }), frame('b', { opcode: MORE })], [{ pong: 'p' }, 'ab']],
  ['pings between five fragments', [frame('1', { fin: false }), ...range(2, 5).flatMap((n) => [frame(`p${n}`, { opcode: PING }),
    frame(String(n), { opcode: MORE, fin: n === 5 })])], [{ pong: 'p2' }, { pong: 'p3' }, { pong: 'p4' }, { pong: 'p5' }, '12345']],
  ['5,000 fragments', [frame('x', { fin: false }), ...range(2, 4999).map(() => frame('x', { opcode: MORE, fin: false })), frame('x', { opcode: MORE })], ['x'.repeat(5000)]],
  ['a fragment per byte of UTF-8', [...Buffer.from(BEST)].map((byte, i, all) => frame([byte], { opcode: i === 0 ? TEXT : MORE, fin: i === all.length - 1 })), [BEST]],
  ['many messages at once, in order', range(1, 300).map((n) => frame(`m${n}`, { opcode: n % 2 ? TEXT : BINARY })),
    range(1, 300).map((n) => (n % 2 ? `m${n}` : { 2: Buffer.from(`m${n}`).toString('hex') }))],
  ...[1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999].map((code) => [
    `their close with ${code}`, [close(code, 'why')], [{ close: code }], 'ends']),
  ['their close without a code', [frame('', { opcode: CLOSE })], [{ close: 1000 }], 'ends'],
  ['a close with the longest reason', [close(1000, '*'.repeat(123))], [{ close: 1000 }], 'ends'],
  ['nothing after their close', [close(1000), frame('late'), frame('', { opcode: PING })], [{ close: 1000 }], 'ends'],
  ['what stood before their close', [frame('a'), frame('b'), close(1000)], ['a', 'b', { close: 1000 }], 'ends'],
];

const raw = (...bytes) => Buffer.from(bytes);
/** The header of a frame whose payload never comes: the fault must be told before. */
const head = (first, size) => (size < 126 ? raw(first, 0x80 | size)
  : size < 65536 ? raw(first, 0xfe, size >> 8, size & 255) : Buffer.concat([raw(first, 0xff), (() => { const b = Buffer.alloc(8); b.writeBigUInt64BE(BigInt(size)); return b; })()]));
const begun = (opcode, size, payload, first = 0x80 | opcode) => Buffer.concat([head(first, size), raw(0, 0, 0, 0), Buffer.from(payload)]);

/** [name, what is sent, the code] — cut right behind the first offending byte. */
const BAD = [
  ...[0x40, 0x20, 0x10, 0x70].map((bits) => [`reserved bits ${bits.toString(16)}`, raw(0x81 | bits), 1002]),
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) => [`opcode ${opcode}`, raw(0x80 | opcode), 1002]),
  ['an unmasked frame', raw(0x81, 0x05), 1002],
  ['an unmasked ping', raw(0x89, 0x00), 1002],
  ['a ping of 126', raw(0x89, 0xfe), 1002],
  ['a ping of 64 bits', raw(0x89, 0xff), 1002],
  ['a ping in fragments', raw(0x09), 1002],
  ['a pong in fragments', raw(0x0a), 1002],
  ['a close in fragments', raw(0x08), 1002],
  ['a continuation of nothing', raw(0x80), 1002],
  ['a first fragment that continues nothing', raw(0x00), 1002],
  ['a text within a message', Buffer.concat([frame('a', { fin: false }), raw(0x81)]), 1002],
  ['a binary within a message', Buffer.concat([frame('a', { fin: false }), raw(0x02)]), 1002],
  ['a continuation behind the end', Buffer.concat([frame('a', { fin: false }), frame('b', { opcode: MORE }), raw(0x80)]), 1002, ['ab']],
  ['16 bits for 125', raw(0x81, 0xfe, 0, 125), 1002],
  ['64 bits for 65,535', raw(0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff), 1002],
  ['a size with the highest bit', raw(0x81, 0xff, 0x80), 1002],
  ['a message above the limit, at its header', head(0x82, (1 << 20) + 1), 1009],
  ['a fragment that exceeds the rest', Buffer.concat([frame(big(1 << 19), { fin: false }), head(0x80, (1 << 19) + 1)]), 1009],
  ['half a close code', raw(0x88, 0x81), 1002],
  ...[0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535].map((code) => [`close code ${code}`, begun(CLOSE, 2, raw(code >> 8, code & 255)), 1002]),
  ['a close code that cannot begin so', begun(CLOSE, 2, raw(0x04)), 1002],
  ['a close reason that is no UTF-8, at its byte', begun(CLOSE, 20, raw(3, 232, 0x61, 0xff)), 1007],
  ['a close reason that ends within a character', close(1000, Buffer.from([0xe2, 0x82])), 1007],
  ['0x80 alone', begun(TEXT, 100, raw(0x61, 0x80)), 1007],
  ['an overlong slash', begun(TEXT, 100, raw(0xc0)), 1007],
  ['an overlong form of three', begun(TEXT, 100, raw(0xe0, 0x9f)), 1007],
  ['a surrogate', begun(TEXT, 100, raw(0xed, 0xa0)), 1007],
  ['beyond U+10FFFF', begun(TEXT, 100, raw(0xf4, 0x90)), 1007],
  ['0xf5', begun(TEXT, 100, raw(0xf5)), 1007],
  ['a character cut by the end', frame(Buffer.from([0x61, 0xe2, 0x82])), 1007],
  ['bad UTF-8 in the first fragment, before its end', begun(TEXT, 100, Buffer.from('abc\xff', 'latin1'), 0x01), 1007],
  ['bad UTF-8 in a later fragment, before its end', Buffer.concat([frame('good ', { fin: false }), frame('', { opcode: PING }), begun(MORE, 100, raw(0xce, 0xba, 0xff), 0x00)]), 1007, [{ pong: '' }]],
  ['a character broken between fragments', Buffer.concat([frame(Buffer.from([0xce]), { fin: false }), begun(MORE, 50, raw(0x41), 0x00)]), 1007],
  ['a character that the message does not finish', Buffer.concat([frame(Buffer.from([0xce]), { fin: false }), frame('', { opcode: MORE })]), 1007],
  ['a fault behind good messages', Buffer.concat([frame('a'), frame('b'), raw(0xf1)]), 1002, ['a', 'b']],
];

const echoed = (gateway) => ({ port: gateway.port, path: '/debug/echo' });
const MATCHES = (bytes, wanted) => JSON.stringify(shown(bytes)) === JSON.stringify(wanted);

/** Sends, in pieces of `step` bytes, and waits for exactly what is wanted. */
async function exchange(gateway, sent, wanted, ends, step) {
  const peer = await openRaw(echoed(gateway));
  if (step === 0) peer.socket.write(sent);
  for (let at = 0; step > 0 && at < sent.length; at += step) {
    peer.socket.write(sent.subarray(at, at + step));
    if (at % 64 === 0) await new Promise((next) => setImmediate(next));
  }
  const seen = () => { try { return JSON.stringify(shown(peer.received)).slice(0, 300); } catch { return ''; } };
  await until(() => framesOf(peer.received).length >= wanted.length, 'it is answered').catch(() => { throw new Error(seen()); });
  assert.ok(MATCHES(peer.received, wanted), `${seen()}, wanted ${JSON.stringify(wanted).slice(0, 300)}`);
  if (ends) {
    await until(() => peer.isEnded, 'the gateway ends it');
    assert.ok(MATCHES(peer.received, wanted), seen());
  }
  peer.socket.destroy();
}

test('websocket', async (t) => {
  const gateway = new Gateway({ shards: 2, config: { storage: { engine: 'memory' }, debug: { echo: true },
    websocket: { message_size_limit: '1MiB' } } });
  t.after(() => gateway.end());
  await gateway.start();

  for (const [name, parts, wanted, ends] of GOOD)
    await t.test(`good: ${name}`, async () => {
      const sent = Buffer.concat(parts);
      for (const step of [0, sent.length > 2000 ? 997 : 1]) await exchange(gateway, sent, wanted, ends, step);
    });
  for (const [name, sent, code, before = []] of BAD)
    await t.test(`bad: ${name} is ${code}`, async () => {
      for (const step of [0, sent.length > 2000 ? 997 : 1]) await exchange(gateway, sent, [...before, { close: code }], true, step);
    });

  await t.test('a message at the limit comes back, in one frame or in many', async () => {
    const data = randomBytes(1 << 20);
    await exchange(gateway, frame(data, { opcode: BINARY }), [{ 2: data.toString('hex') }], false, 0);
    const pieces = range(0, 63).map((n) => frame(data.subarray(n << 14, (n + 1) << 14), { opcode: n === 0 ? BINARY : MORE, fin: n === 63 }));
    await exchange(gateway, Buffer.concat(pieces), [{ 2: data.toString('hex') }], false, 0);
  });

  await t.test('who sends and does not read waits, loses nothing, and costs no more than his queue', async (t) => {
    const peer = await openRaw(echoed(gateway));
    peer.socket.pause();
    const before = gateway.memory(), data = randomBytes(64 << 10), count = 400;
    for (let n = 0; n < count; n++) peer.socket.write(frame(data, { opcode: BINARY }));
    await sleep(600);
    const grown = gateway.memory() - before;
    t.diagnostic(`${grown >> 20} MiB more`);
    if (gateway.isMeasurable) assert.ok(grown < 12 << 20, `${grown >> 20} MiB more`);
    let size = 0;
    peer.socket.removeAllListeners('data');
    peer.socket.on('data', (bytes) => { size += bytes.length; }).resume();
    await until(() => size === count * (data.length + 10), 'everything came back');
    peer.socket.destroy();
  });

  await t.test('header names and tokens in any case; a refused version is told which one is spoken', async () => {
    for (const [headers, status] of [
      ['upgrade: WebSocket\r\nCONNECTION: keep-alive, uPGRADE\r\nsec-websocket-version: 13', 101],
      ['Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8', 426],
      ['Upgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13', 426],
      ['Upgrade: websocket\r\nConnection: close\r\nSec-WebSocket-Version: 13', 426],
    ]) {
      const peer = await openRaw(echoed(gateway), { head: headers });
      assert.match(peer.head, new RegExp(`^HTTP/1.1 ${status} `), headers);
      if (status === 426) assert.match(peer.head, /Sec-WebSocket-Version: 13\r\n/);
      peer.socket.destroy();
    }
  });

  await t.test('our close waits for theirs: the socket ends when both have said it', async () => {
    const peer = await openRaw(gateway);
    peer.socket.write(frame('{"id":1,"publish":{"channel":"x","data":1}}'));
    await until(() => framesOf(peer.received).length === 1, 'the close came');
    assert.deepEqual(shown(peer.received), [{ close: 3501 }]);
    assert.equal(peer.isEnded, false);
    peer.socket.write(close(3501));
    await until(() => peer.isEnded, 'the gateway ends it', 4000);
  });

  assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
});

// As large as they may be; TSan, which takes a minute for them, gets smaller ones.
test('messages of 64 MiB', async (t) => {
  const gateway = new Gateway({ shards: 2, config: { debug: { echo: true }, client: PATIENT, websocket: { message_size_limit: '64MiB' } } });
  t.after(() => gateway.end());
  await gateway.start();
  const size = gateway.isMeasurable ? 64 << 20 : 8 << 20;

  await t.test('echo, and the memory is given back', async (t) => {
    const before = gateway.memory(), data = randomBytes(size);
    const peer = open(echoed2(gateway), { maxPayload: 1 << 27, onMessage: () => {} });
    await peer.ready;
    peer.socket.removeAllListeners('message');
    const came = new Promise((done) => peer.socket.once('message', done));
    peer.socket.send(data);
    assert.ok(data.equals(await came));
    if (gateway.isMeasurable) await until(() => gateway.memory() - before < 24 << 20, 'the memory is given back');
    t.diagnostic(`${(gateway.memory() - before) >> 20} MiB more`);
    peer.socket.terminate();
  });

  await t.test('publish: through the store to a subscriber, history and recovery', async () => {
    const options = { maxPayload: 1 << 28 };
    const [one, two] = await Promise.all(['one', 'two'].map(async (user) => {
      const peer = open(gateway, options);
      await peer.ready;
      peer.send({ id: 1, connect: { token: token({ sub: user }) } }, { id: 2, subscribe: { channel: 'chat:huge' } });
      await peer.reply(2);
      return peer;
    }));
    const data = 'x'.repeat(size - 200);
    one.send({ id: 3, publish: { channel: 'chat:huge', data } });
    assert.deepEqual((await one.reply(3)).publish, {});
    for (const peer of [one, two]) {
      await until(() => peer.pushes('chat:huge').length === 1, 'it came');
      assert.ok(peer.pushes('chat:huge')[0].data === data);
    }
    const late = open(gateway, options);
    await late.ready;
    late.send({ id: 1, connect: { token: token({ sub: 'late' }) } }, { id: 2, subscribe: { channel: 'chat:huge', recover: true, offset: 0, epoch: '' } });
    const { subscribe } = await late.reply(2);
    assert.equal(subscribe.recovered, true);
    assert.ok(subscribe.publications[0].data === data);
    for (const peer of [one, two, late]) peer.socket.terminate();
  });

  await t.test('one byte more is 1009', async () => {
    const peer = await openRaw(gateway);
    peer.socket.write(head(0x81, (64 << 20) + 1));
    await until(() => framesOf(peer.received).length === 1, 'the close came');
    assert.deepEqual(shown(peer.received), [{ close: 1009 }]);
    peer.socket.destroy();
  });

  assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
});

test('/debug/echo is not there unless it is asked for', async (t) => {
  const gateway = new Gateway({ config: { storage: { engine: 'memory' } } });
  t.after(() => gateway.end());
  await gateway.start();
  assert.equal((await fetch(`${gateway.http}/debug/echo`)).status, 404);
});

function echoed2(gateway) { return { url: `ws://127.0.0.1:${gateway.port}/debug/echo` }; }
