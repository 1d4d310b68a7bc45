// A bare WebSocket that does exactly what a test says: no reconnect, pongs only
// when asked to, and one that stops reading.
import { randomBytes } from 'node:crypto';
import { connect as connectTcp } from 'node:net';
import WebSocket from 'ws';
import { token, until } from './gateway.mjs';
import { wires } from './wires.mjs';

/** Opens a WebSocket that notes every message and the close; `wire` apart, options are
 *  of the socket, `answersPings`, and `onMessage`, which gets what comes after connect. */
export function open(gateway, { wire = 'json', ...options } = {}) {
  const { query, encode, decode } = wires[wire];
  const socket = new WebSocket(gateway.url + query, options);
  const peer = { socket, messages: [], closed: null, isConnected: false, answersPings: options.answersPings ?? true };
  socket.on('message', (bytes) => {
    for (const message of decode(bytes)) {
      if (Object.keys(message).length === 0 && peer.answersPings) socket.send(encode([{}]));
      if (options.onMessage) { if (peer.isConnected) options.onMessage(message); }
      if (!options.onMessage || !peer.isConnected) peer.messages.push(message);
    }
  });
  socket.on('close', (code, reason) => { peer.closed = { code, reason: String(reason) }; });
  socket.on('error', (error) => { peer.error = error; });
  peer.ready = new Promise((done) => { socket.once('open', done); socket.once('error', done); });
  peer.send = (...commands) => socket.send(encode(commands));
  peer.reply = (id) => until(() => peer.messages.find((message) => message.id === id), `reply ${id} came`);
  peer.pushes = (channel) => peer.messages
    .filter((message) => message.push?.channel === channel && message.push.pub).map((message) => message.push.pub);
  peer.end = () => until(() => peer.closed, 'the gateway closed');
  return peer;
}

/** Opens and connects as `user`. */
export async function openAs(gateway, user, options = {}) {
  const peer = open(gateway, options);
  await peer.ready;
  peer.send({ id: 1, connect: { token: token({ sub: user, ...options.claims }) } });
  await peer.reply(1);
  peer.isConnected = true;
  return peer;
}

/** One masked frame of a client. */
export function frame(payload, { opcode = 1, fin = true } = {}) {
  const data = Buffer.from(payload);
  const mask = randomBytes(4);
  const head = data.length < 126 ? Buffer.from([0, 0x80 | data.length])
    : data.length < 65536 ? Buffer.from([0, 0xfe, data.length >> 8, data.length & 255])
      : Buffer.concat([Buffer.from([0, 0xff]), Buffer.alloc(8)]);
  if (data.length >= 65536) head.writeBigUInt64BE(BigInt(data.length), 2);
  head[0] = (fin ? 0x80 : 0) | opcode;
  for (let i = 0; i < data.length; i++) data[i] ^= mask[i & 3];
  return Buffer.concat([head, mask, data]);
}

/** A TCP connection that has upgraded and sends `commands`; it reads only while told to.
 *  `gateway.path` leads elsewhere; a command `{ head }` replaces the headers of the upgrade. */
export async function openRaw(gateway, ...commands) {
  const socket = connectTcp({ port: gateway.port, host: '127.0.0.1' });
  const raw = { socket, head: '', received: Buffer.alloc(0), isEnded: false };
  socket.on('data', (bytes) => { raw.received = Buffer.concat([raw.received, bytes]); });
  socket.on('end', () => { raw.isEnded = true; });
  socket.on('close', () => { raw.isEnded = true; });
  socket.on('error', (error) => { raw.error = error; });
  const headers = commands[0]?.head ?? 'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13';
  if (commands[0]?.head) commands.shift();
  socket.write(`GET ${gateway.path ?? '/connection/websocket'} HTTP/1.1\r\nHost: 127.0.0.1\r\n${headers}\r\n` +
    `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`);
  await until(() => raw.received.includes('\r\n\r\n'), 'the upgrade was answered');
  const end = raw.received.indexOf('\r\n\r\n') + 4;
  raw.head = String(raw.received.subarray(0, end));
  raw.received = raw.received.subarray(end);
  if (commands.length > 0) socket.write(frame(commands.map((c) => JSON.stringify(c)).join('\n')));
  return raw;
}

/** The frames of a server in `bytes`: opcode and payload; the last may be cut. */
export function framesOf(bytes) {
  const frames = [];
  for (let at = 0; at + 2 <= bytes.length;) {
    let size = bytes[at + 1] & 127, head = 2;
    if (size === 126 && at + 4 <= bytes.length) { size = bytes.readUInt16BE(at + 2); head = 4; }
    else if (size === 127 && at + 10 <= bytes.length) { size = Number(bytes.readBigUInt64BE(at + 2)); head = 10; }
    if (at + head + size > bytes.length) break;
    frames.push({ opcode: bytes[at] & 15, payload: bytes.subarray(at + head, at + head + size) });
    at += head + size;
  }
  return frames;
}

/** Sends text over TCP and returns everything that comes back until the end. */
export function talk(gateway, parts, { until: enough = null, gap = 0, ms = 60000 } = {}) {
  return new Promise((done) => {
    const socket = connectTcp(gateway.port, '127.0.0.1', async () => {
      for (const part of [].concat(parts)) {
        if (socket.destroyed) return;
        socket.write(part);
        if (gap > 0) await new Promise((next) => setTimeout(next, gap));
      }
    });
    let text = '', error = null;
    const end = () => { clearTimeout(timer); socket.destroy(); done({ text, error, isTimeout: false }); };
    const timer = setTimeout(() => { socket.destroy(); done({ text, error, isTimeout: true }); }, ms);
    socket.on('data', (bytes) => { text += bytes; if (enough?.(text)) end(); });
    socket.on('error', (cause) => { error = cause.code; });
    socket.on('close', end);
  });
}

/** A seeded generator, so that a failure comes again (mulberry32). */
export function random(seed) {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}
