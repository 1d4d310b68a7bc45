// The load client: its figures come out for each kind of run and wire, and whatever a
// server does wrong ends a run: it is its own witness otherwise.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { WebSocketServer } from 'ws';
import { certificate } from './certificates.mjs';
import { BINARY, Gateway, KEY, SECRET } from './gateway.mjs';

const SWARM = join(dirname(BINARY), 'perf', 'swarm', 'sluice-swarm');

/** One run: its exit code, what it says, and the figures where it has some. */
async function swarm(port, settings, ...options) {
  const words = Object.entries({ port, warm_up: 0.1, seconds: 0.3, ...settings }).map(([name, value]) => `${name}=${value}`);
  const child = spawn(SWARM, [...words, '--json', '--quiet', ...options]);
  let said = '', told = '';
  child.stdout.on('data', (data) => { said += data; });
  child.stderr.on('data', (data) => { told += data; });
  const code = await new Promise((done) => child.once('close', done));
  return { code, told, ...(said ? JSON.parse(said) : {}) };
}

test('every kind of run, on either wire', async (t) => {
  const gateway = new Gateway({ config: { storage: { engine: 'memory' }, debug: { echo: true }, log: { level: 'info' } } });
  t.after(() => gateway.end());
  await gateway.start({ shards: 2 });
  const common = { secret: SECRET, prefix: 'chat:b', clients: 40 };
  const runs = {
    'one channel': { kind: 'fanout' },
    'rooms of many sizes': { kind: 'fanout', channels: 8, joins: 3, skew: 1, rate: 400, method: 'send', processes: 3, addresses: 1 },
    'durable sends': { kind: 'send', channels: 5, batch: 4, in_flight: 2, processes: 2 },
    'sends at a pace': { kind: 'send', channels: 5, rate: 500, method: 'send' },
    'a return': { kind: 'return', channels: 4, missed: 20, processes: 2 },
    'connections': { kind: 'connect', channels: 4 },
    'a fleet': { kind: 'idle', channels: 4, own: 'true', info: 50 },
  };
  for (const wire of ['json', 'protobuf'])
    for (const [name, settings] of Object.entries(runs))
      await t.test(`${name}, ${wire}`, async () => {
        const page = join(gateway.dir, 'page.html');
        const run = await swarm(gateway.port, { ...common, ...settings, wire }, '--pid', String(gateway.child.pid), '--html', page);
        assert.equal(run.code, 0, run.told);
        assert.equal(run.failure, '');
        if (settings.kind !== 'idle') assert.ok(run.units > 0 && run.server_ns > 0, JSON.stringify(run));
        assert.ok(run.checked && run.opening_us.count === 40, JSON.stringify(run));
        assert.match(readFileSync(page, 'utf8'), /<svg/);
      });
  await t.test('slow readers are closed, the others get everything', async () => {
    // Ten megabytes and more wait in the kernel's buffers first, which takes a slow machine a while.
    let run;
    for (const seconds of [2, 8, 32, 64]) {
      run = await swarm(gateway.port, { ...common, kind: 'slow', clients: 12, slow_percent: 40, payload: 60000, in_flight: 2, seconds });
      assert.equal(run.code, 0, run.told);
      if (run.closed > 0) break;
    }
    assert.ok(run.closed > 0, JSON.stringify(run));
  });
  const rooms = {
    'each move, json': [12, 3, 0.4], 'moves put together, protobuf': [60, 3, 0.6],
    'counts, json': [300, 1, 1.1], 'nothing but answers, protobuf': [2010, 1, 0.4],
  };
  for (const [name, [clients, channels, seconds]] of Object.entries(rooms))
    await t.test(`receipts: ${name}`, async () => {
      const wire = name.split(' ').at(-1);
      const run = await swarm(gateway.port, { ...common, kind: 'receipts', clients, channels, wire, rate: 300, seconds, api_key: KEY, prefix: `chat:${wire}${clients}-` });
      assert.equal(run.code, 0, run.told);
      assert.equal(run.failure, '');
      assert.ok(run.acked > 0 && run.checked, JSON.stringify(run));
      assert.equal(run.receipts > 0, clients < 2000);
      assert.equal(run.latency_us.count > 0, clients < 2000);
    });
  await t.test('echo', async () => {
    const run = await swarm(gateway.port, { kind: 'echo', wire: 'plain', path: '/debug/echo', clients: 20, in_flight: 3 });
    assert.equal(run.code, 0, run.told);
    assert.ok(run.delivered > 20, JSON.stringify(run));
  });
});

test('TLS, whole handshakes and resumed ones', async (t) => {
  const gateway = new Gateway({ config: { storage: { engine: 'memory' }, log: { level: 'info' } } });
  t.after(() => gateway.end());
  const { cert, key, ca } = certificate(gateway.dir, 'swarm');
  gateway.options.ca = ca;
  gateway.options.config.http_server = { address: '127.0.0.1', tls: { enabled: true, cert_pem: cert, key_pem: key } };
  await gateway.start({ shards: 1 });
  const common = { kind: 'fanout', secret: SECRET, prefix: 'chat:t', clients: 12 };
  const full = await swarm(gateway.port, { ...common, tls: 'full' });
  assert.deepEqual([full.code, full.resumed], [0, 0], full.told);
  const resumed = await swarm(gateway.port, { ...common, tls: 'resumed', prefix: 'chat:u' });
  assert.deepEqual([resumed.code, resumed.resumed], [0, 11], resumed.told);
});

/** A server that speaks just enough, and does `fault` to what it has to deliver. */
async function liar(t, fault) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' }), rooms = new Map();
  t.after(() => { for (const socket of server.clients) socket.terminate(); server.close(); });
  let published = 0, head = 0, kept = null;
  server.on('connection', (socket) => socket.on('message', (frame) => {
    const say = (value) => socket.send(JSON.stringify(value));
    for (const line of String(frame).split('\n')) {
      const { id, connect, subscribe, publish, history } = JSON.parse(line);
      if (connect) say({ id, connect: { client: 'c', version: '1', ping: 25, pong: true } });
      if (history) say({ id, history: { publications: [], epoch: 'e', offset: head } });
      if (subscribe) {
        const room = rooms.get(subscribe.channel) ?? new Set();
        rooms.set(subscribe.channel, room.add(socket));
        say({ id, subscribe: {} });
      }
      if (!publish) continue;
      published++;
      if (!(fault === 'forget' && published === 3)) head++;
      const room = [...rooms.get(publish.channel) ?? []], victim = room.at(-1), pub = { data: publish.data };
      for (const listener of room) {
        const told = (data) => listener.send(JSON.stringify({ push: { channel: publish.channel, pub: { data } } }));
        const isStruck = listener === victim && published === 3;
        if (isStruck && fault === 'drop') continue;
        if (isStruck && fault === 'swap') { kept = () => told(pub.data); continue; }
        told(isStruck && fault === 'alter' ? pub.data.replace('xx', 'yy@') : pub.data);
        if (isStruck && fault === 'double') told(pub.data);
        if (isStruck && fault === 'close') listener.terminate();
        if (listener === victim && published === 4) kept?.();
      }
      say(fault === 'refuse' && published === 3 ? { id, error: { code: 100, message: 'internal server error' } } : { id, publish: {} });
    }
  }));
  await new Promise((done) => server.once('listening', done));
  return server.address().port;
}

test('what a server does wrong ends the run', async (t) => {
  const fanout = { kind: 'fanout', clients: 5, rate: 100, patience: 2 }, send = { kind: 'send', clients: 3, channels: 1, patience: 2 };
  const faults = {
    none: [fanout, 0, /^$/],
    drop: [fanout, 1, /message 4 of channel 0 after 2/],
    double: [fanout, 1, /message 3 of channel 0 after 3/],
    swap: [fanout, 1, /message 4 of channel 0 after 2/],
    alter: [fanout, 1, /that nobody sent/],
    close: [fanout, 1, /was closed by the server/],
    refuse: [fanout, 1, /is answered: .*internal server error/],
    forget: [send, 1, /were acknowledged, the channels grew by/],
  };
  for (const [fault, [settings, code, sentence]] of Object.entries(faults))
    await t.test(fault, async (t2) => {
      const run = await swarm(await liar(t2, fault), settings);
      assert.equal(run.code, code, run.told);
      assert.match(run.failure, sentence);
    });
});

/** A server of rooms whose members read, which tells receipts with `fault`. */
async function gossip(t, fault) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' }), sockets = [];
  t.after(() => { for (const socket of server.clients) socket.terminate(); server.close(); });
  let head = 0, moves = 0;
  const cursors = new Map();
  server.on('connection', (socket) => {
    sockets.push(socket);
    let user;
    socket.on('message', (frame) => {
      const say = (value) => socket.send(JSON.stringify(value));
      const all = (channel, pub) => { for (const listener of sockets) listener.send(JSON.stringify({ push: { channel, pub } })); };
      const move = (to) => {
        const from = cursors.get(user) ?? 0, told = { user, from, to };
        cursors.set(user, to);
        moves++;
        if (fault === 'silent' && moves === 6) return;
        if (fault === 'ahead' && moves === 6) told.to++;
        all('receipts:bench0', { data: { moves: [told] } });
        if (fault === 'again' && moves === 6) all('receipts:bench0', { data: { moves: [told] } });
        if (fault === 'stranger' && moves === 6) all('receipts:bench0', { data: { moves: [{ ...told, user: 'u00000000077' }] } });
      };
      for (const line of String(frame).split('\n')) {
        const { id, connect, subscribe, rpc } = JSON.parse(line);
        if (connect) user = JSON.parse(Buffer.from(connect.token.split('.')[1], 'base64url')).sub;
        if (connect) say({ id, connect: { client: 'c', version: '1', ping: 25, pong: true } });
        if (subscribe) say({ id, subscribe: {} });
        if (rpc?.method === 'message.send') {
          all('bench0', { data: rpc.data.data, offset: ++head });
          say({ id, rpc: { data: { offset: head } } });
        } else if (rpc?.method === 'receipt.read') {
          say({ id, rpc: { data: { offset: fault === 'stuck' && moves === 6 ? rpc.data.offset - 1 : rpc.data.offset } } });
          move(rpc.data.offset);
        } else if (rpc?.method === 'receipt.counts') {
          const others = [...cursors].filter(([name]) => name !== 'u00000000000').map(([, cursor]) => cursor);
          const counts = rpc.data.offsets.map((offset) => others.filter((cursor) => cursor >= offset).length);
          if (fault === 'count') counts[0]++;
          say({ id, rpc: { data: { counts, eligible: counts.map(() => 3) } } });
        }
      }
    });
  });
  await new Promise((done) => server.once('listening', done));
  return server.address().port;
}

test('receipts that are not so end the run', async (t) => {
  const settings = { kind: 'receipts', clients: 4, channels: 1, rate: 100, patience: 2, secret: SECRET, seconds: 0.5 };
  const faults = {
    none: [0, /^$/],
    silent: [1, /from \d+ to \d+ after|and it read/],
    ahead: [1, /read up to 3, who read up to 2/],
    again: [1, /from 1 to 2 after 2/],
    stranger: [1, /is told of user 77, who is no member/],
    stuck: [1, /read up to \d+ and is answered \d+/],
    count: [1, /is answered that 4 of 3 read message/],
  };
  for (const [fault, [code, sentence]] of Object.entries(faults))
    await t.test(fault, async (t2) => {
      const run = await swarm(await gossip(t2, fault), settings);
      assert.equal(run.code, code, run.told);
      assert.match(run.failure, sentence);
    });
});

test('a scenario that cannot be run is told in a sentence', async () => {
  const cases = [
    [['nothing=1'], /no setting "nothing"/], [['clients=0'], /clients is "0"; it is a number from 1/],
    [['wire=smoke'], /one of json\|protobuf\|plain/], [['own=perhaps'], /true or false/],
    [[`prefix=${'x'.repeat(101)}`], /prefix is longer than 100 bytes/], [[`prefix=${'x'.repeat(100)}`, 'clients=0'], /clients is/],
    [['payload=20'], /payload below 36/], [['channels=2000'], /more channels than clients/],
    [['kind=send', 'wire=plain'], /need a protocol/], [['kind=receipts', 'secret=s'], /at a rate/], [['kind=echo'], /wire=plain/], [['/nowhere.yaml'], /nowhere.yaml/],
  ];
  for (const [words, sentence] of cases) {
    const child = spawn(SWARM, words);
    let told = '';
    child.stderr.on('data', (data) => { told += data; });
    const code = await new Promise((done) => child.once('close', done));
    assert.equal(code, 2, told);
    assert.match(told, sentence);
  }
});
