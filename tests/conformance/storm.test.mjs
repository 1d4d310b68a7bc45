// 200 bare clients over 100 channels and 4 shards: 10,000 publications while
// others subscribe, leave, vanish and come back.  Each listener has each message
// of its time exactly once, in order.  Made for the builds with TSan and ASan,
// whose reports Gateway.end() looks for; SLUICE_STORM scales it.
import assert from 'node:assert/strict';
import test from 'node:test';
import { range } from './client.mjs';
import { Gateway, SECRET, sleep, until } from './gateway.mjs';
import { openAs, random } from './peer.mjs';
import { Redis } from './redis.mjs';

const SCALE = Number(process.env.SLUICE_STORM ?? 1);
const STEADY = 100, JUMPERS = 60, VANISHERS = 40;
const PUBLICATIONS = Math.round(10000 * SCALE);
const KEPT = range(0, 79).map((n) => `chat:${n}`), LIVE = range(80, 99).map((n) => `live:${n}`);
const CHANNELS = [...KEPT, ...LIVE];

/** One client's view of its channels, checked as messages arrive. */
class Listener {
  constructor(gateway, name) {
    Object.assign(this, { gateway, name, id: 1, faults: [], channels: new Map(), waiting: new Map(), received: 0 });
  }
  fault(text) { if (this.faults.length < 5) this.faults.push(`${this.name}: ${text}`); }

  async open() {
    this.peer = await openAs(this.gateway, this.name, { onMessage: (message) => this.take(message) });
  }
  /** Resolves with the reply, null when the connection went; `onReply` runs before anything behind it is looked at. */
  ask(command, onReply) {
    const id = ++this.id;
    this.peer.send({ id, ...command });
    return new Promise((done) => this.waiting.set(id, { done, onReply }));
  }
  async subscribe(name) {
    const known = this.channels.get(name) ?? { offset: null, epoch: '', last: new Map(), isOn: false };
    this.channels.set(name, known);
    const recover = known.offset !== null && name.startsWith('chat:');
    known.isLeaving = false;
    await this.ask({ subscribe: { channel: name, ...(recover && { recover, offset: known.offset, epoch: known.epoch }) } },
      (reply) => this.subscribed(name, known, reply));
  }
  subscribed(name, known, { error, subscribe: result }) {
    // An unsubscribe that overtook it: temporary, so that an SDK asks again.
    if (error && known.isLeaving && error.temporary) return;
    if (error) { this.fault(`${name}: subscribe ${JSON.stringify(error)}`); return; }
    known.isOn = true;
    known.last.clear();
    if (!name.startsWith('chat:')) return;
    if (known.offset !== null && !result.recovered) this.fault(`${name}: not recovered from ${known.offset} to ${result.offset}`);
    if (known.offset === null) known.offset = result.offset ?? 0;
    known.epoch = result.epoch;
    for (const pub of result.publications ?? []) this.publication(name, pub);
  }
  async leave(name) {
    const known = this.channels.get(name);
    known.isLeaving = true;
    await this.ask({ unsubscribe: { channel: name } }, (reply) => {
      known.isOn = false;
      if (reply.error) this.fault(`${name}: unsubscribe ${JSON.stringify(reply.error)}`);
    });
  }
  take(message) {
    if (message.push) {
      if (message.push.pub) this.publication(message.push.channel, message.push.pub);
      else this.fault(`push ${JSON.stringify(message.push)}`);
      return;
    }
    const asked = this.waiting.get(message.id);
    if (asked === undefined) return; // a ping, or the reply to connect
    this.waiting.delete(message.id);
    asked.onReply?.(message);
    asked.done(message);
  }
  publication(name, pub) {
    const known = this.channels.get(name);
    if (!known?.isOn) return this.fault(`${name}: a publication without a subscription`);
    this.received++;
    if (name.startsWith('chat:')) {
      if (pub.offset !== known.offset + 1) this.fault(`${name}: offset ${pub.offset} after ${known.offset}`);
      known.offset = pub.offset;
    }
    // Each writer counts per channel; within a stretch its numbers have no hole.
    const [writer, number] = pub.data;
    const before = known.last.get(writer);
    if (before !== undefined && number !== before + 1) this.fault(`${name}: ${writer} wrote ${number} after ${before}`);
    known.last.set(writer, number);
  }
  /** Vanishes without a goodbye and comes back for what it missed. */
  async vanish() {
    const names = [...this.channels.keys()];
    this.peer.socket.terminate();
    for (const known of this.channels.values()) known.isOn = false;
    for (const { done } of this.waiting.values()) done(null);
    this.waiting.clear();
    await this.open();
    await Promise.all(names.map((name) => this.subscribe(name)));
  }
}

async function storm(t, store) {
  const gateway = new Gateway({ shards: 4 });
  const open = { allow_subscribe_for_client: true, allow_publish_for_client: true };
  gateway.options.config = { log: { level: 'info' }, ...store(gateway),
    client: { token: { hmac_secret_key: SECRET }, allowed_origins: ['*'], recovery_max_publication_limit: 10000 },
    channel: { namespaces: [
      { name: 'chat', history_size: 100000, history_ttl: '300s', force_recovery: true, ...open }, { name: 'live', ...open }] } };
  t.after(() => gateway.end());
  await gateway.start();
  const pick = random(7);
  const all = range(1, STEADY + JUMPERS + VANISHERS).map((n) => new Listener(gateway, `u${n}`));
  for (let i = 0; i < all.length; i += 50) await Promise.all(all.slice(i, i + 50).map((listener) => listener.open()));
  const [steady, jumpers, vanishers] = [all.slice(0, STEADY), all.slice(STEADY, STEADY + JUMPERS), all.slice(STEADY + JUMPERS)];
  for (const [n, listener] of [...steady, ...vanishers].entries())
    await Promise.all(range(0, 4).map((k) => listener.subscribe(CHANNELS[(n + 20 * k) % CHANNELS.length])));

  let on = true;
  const jumping = jumpers.map(async (listener) => {
    for (let n = pick(100); on; n++) {
      const name = CHANNELS[(n * 7) % CHANNELS.length];
      const subscribed = listener.subscribe(name);
      if (pick(3) > 0) await subscribed;
      if (pick(2) > 0) await sleep(pick(20));
      await Promise.all([subscribed, listener.leave(name)]);
    }
  });
  const vanishing = vanishers.map(async (listener) => {
    while (on) { await sleep(100 + pick(400)); if (on) await listener.vanish(); }
  });

  const heads = new Map(CHANNELS.map((name) => [name, 0]));
  const numbers = new Map();
  let refused = 0;
  const writing = steady.map(async (listener, w) => {
    for (let sent = 0; sent < PUBLICATIONS / STEADY;) {
      const batch = range(1, 10).map(() => {
        const name = CHANNELS[pick(CHANNELS.length)];
        const key = `${name} ${w}`;
        numbers.set(key, (numbers.get(key) ?? 0) + 1);
        heads.set(name, heads.get(name) + 1);
        return { publish: { channel: name, data: [w, numbers.get(key)] } };
      });
      sent += batch.length;
      const replies = await Promise.all(batch.map((command) => listener.ask(command)));
      refused += replies.filter((reply) => reply.error).length;
    }
  });
  await Promise.all(writing);
  on = false;
  await Promise.all([...jumping, ...vanishing]);
  assert.equal(refused, 0);

  // What is still under way arrives; then nobody lacks anything.
  for (const listener of [...steady, ...vanishers])
    for (const [name, known] of listener.channels)
      if (name.startsWith('chat:')) await until(() => known.offset === heads.get(name) || listener.faults.length > 0,
        `${listener.name} has ${name} to its end`);
  assert.deepEqual(all.flatMap((listener) => listener.faults), []);
  for (const name of KEPT) assert.equal((await gateway.ask('history', { channel: name, limit: 0 })).offset, heads.get(name));
  t.diagnostic(`${PUBLICATIONS} publications, ${all.reduce((sum, listener) => sum + listener.received, 0)} deliveries`);
  all.forEach((listener) => listener.peer.socket.terminate());
  assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
}

test('embedded', (t) => storm(t, (gateway) => ({ storage: { engine: 'embedded', path: `${gateway.dir}/data` } })));
test('memory', (t) => storm(t, () => ({ storage: { engine: 'memory' } })));
test('redis', async (t) => {
  const redis = await new Redis().start();
  t.after(() => redis.end());
  await storm(t, () => ({ storage: { engine: 'redis' }, redis: { address: redis.address } }));
});
