// Peers that break every rule at random: noise, frames cut anywhere, resets in
// the middle, commands that contradict each other.  Whoever keeps the rules
// notices nothing, and nothing is left behind.  SLUICE_SEED brings a run back.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { connect as connectTcp } from 'node:net';
import test from 'node:test';
import { connect, offsets, range, subscribe } from './client.mjs';
import { Gateway, KEY, sleep, token, until } from './gateway.mjs';
import { frame, random } from './peer.mjs';

const SEED = Number(process.env.SLUICE_SEED ?? randomInt(1 << 30));
const PEERS = 600, AT_ONCE = 30;

const UPGRADE = 'GET /connection/websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n';
const CHANNELS = ['chat:chaos', 'chat:other', 'live:chaos', 'closed:x', 'nowhere:x', '', 'x'.repeat(300)];

/** A command that may be good. */
function command(pick, id) {
  const channel = CHANNELS[pick(CHANNELS.length)];
  const bodies = [
    { subscribe: { channel } }, { subscribe: { channel, recover: true, offset: pick(50), epoch: pick(2) ? '' : 'none' } },
    { unsubscribe: { channel } }, { publish: { channel, data: { n: pick(1e9), pad: 'p'.repeat(pick(3000)) } } },
    { history: { channel, limit: pick(400) - 50, reverse: pick(2) === 1, since: { offset: pick(9), epoch: '' } } },
    { rpc: { method: ['receipt.read', 'receipt.counts', 'message.send', 'none'][pick(4)], data: { channel, offset: pick(9), offsets: [pick(9)], data: 1, key: `k${pick(9)}` } } },
    { ping: {} }, { presence: { channel } }, { refresh: { token: token({ sub: 'chaos' }) } }, { sub_refresh: { channel, token: 'no' } }, {},
  ];
  // Most of the dangerous ones rarely, so that connections live for a while.
  return JSON.stringify({ id: pick(60) === 0 ? 0 : id, ...bodies[pick(pick(20) === 0 ? bodies.length : 5)] });
}

/** What one peer sends, in pieces. */
function script(pick) {
  const bytes = (size) => Buffer.from(range(1, size).map(() => pick(256)));
  const parts = [Buffer.from(UPGRADE)];
  if (pick(10) > 0) parts.push(frame(JSON.stringify({ id: 1, connect: { token: token({ sub: `chaos${pick(5)}` }) } })));
  for (let i = pick(12), id = 2; i > 0; i--) {
    const text = range(0, pick(6)).map(() => command(pick, id++)).join('\n');
    switch (pick(14)) {
      case 0: parts.push(bytes(1 + pick(200))); break;
      case 1: parts.push(frame(bytes(pick(200)), { opcode: pick(16), fin: pick(2) === 1 })); break;
      case 2: parts.push(frame(text.slice(0, pick(text.length + 1)))); break;
      case 3: parts.push(frame('p', { opcode: 9 }), frame('q', { opcode: 10 })); break;
      case 4: parts.push(frame(Buffer.from([3, 232]), { opcode: 8 })); break;
      case 5: {
        const at = pick(text.length + 1);
        parts.push(frame(text.slice(0, at), { fin: false }), frame('', { opcode: 9 }), frame(text.slice(at), { opcode: 0 }));
        break;
      }
      default: parts.push(frame(text));
    }
  }
  let all = Buffer.concat(pick(8) > 0 ? parts : [bytes(pick(400))]);
  if (pick(12) === 0) {
    const body = command(pick, 1);
    all = Buffer.from(`POST /api/${['publish', 'history', 'info', 'none'][pick(4)]} HTTP/1.1\r\nHost: a\r\nX-API-Key: ${KEY}\r\n` +
      `Content-Length: ${body.length + pick(3) - 1}\r\n\r\n${body}`.repeat(1 + pick(3)));
  }
  if (pick(6) === 0 && all.length > 0) all[pick(all.length)] ^= 1 << pick(8);
  return all.subarray(0, pick(4) === 0 ? pick(all.length + 1) : all.length);
}

function perform(port, pick) {
  const bytes = script(pick), step = 1 + pick(pick(3) === 0 ? 20 : 5000), end = pick(4), reads = pick(5) > 0;
  return new Promise((done) => {
    const socket = connectTcp({ port, host: '127.0.0.1' }, async () => {
      if (!reads) socket.pause(); else socket.resume();
      for (let at = 0; at < bytes.length && !socket.destroyed; at += step) {
        socket.write(bytes.subarray(at, at + step));
        await new Promise((next) => setImmediate(next));
      }
      if (end > 0) await sleep(end * 10);
      if (end === 0 || end === 3) socket.resetAndDestroy();
      else if (end === 1) socket.destroy();
      else { socket.resume(); socket.end(); await sleep(20); socket.destroy(); }
    });
    socket.on('error', () => {});
    socket.on('close', done);
  });
}

test('chaos', async (t) => {
  t.diagnostic(`SLUICE_SEED=${SEED}`);
  const gateway = new Gateway({ shards: 3 });
  t.after(() => gateway.end());
  await gateway.start();
  const witnesses = await Promise.all(range(1, 6).map((n) => connect(gateway, `witness${n}`)));
  t.after(() => witnesses.forEach(({ centrifuge }) => centrifuge.disconnect()));
  const feeds = await Promise.all(witnesses.map((witness) => subscribe(witness, 'chat:chaos')));
  await gateway.ask('members_set', { channel: 'chat:chaos', members: ['chaos0', 'chaos1', 'witness1'] });
  const pick = random(SEED);
  let started = 0, on = true;
  const spoken = (async () => { for (let n = 1; on; n++) { await witnesses[0].centrifuge.publish('chat:chaos', n); await sleep(5); } })();
  await Promise.all(range(1, AT_ONCE).map(async () => { while (started++ < PEERS) await perform(gateway.port, pick); }));
  on = false;
  await spoken;
  const { offset } = await gateway.ask('history', { channel: 'chat:chaos', limit: 0 });
  await until(() => feeds.every((feed) => feed.publications.length >= offset), 'the witnesses have everything');
  for (const feed of feeds) assert.deepEqual(offsets(feed.publications), range(1, offset));
  assert.ok(witnesses.every((witness) => witness.connects === 1 && witness.errors.length === 0));
  await until(async () => (await gateway.ask('info', {})).nodes[0].num_clients === witnesses.length, 'only the witnesses are left');
  assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
});
