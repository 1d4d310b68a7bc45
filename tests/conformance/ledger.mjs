// Who published what, who was told what: traffic over several gateways, and the
// judge of it.  The judge believes nobody but the answers that clients got.
//
//   acknowledged ⇒ every listener hears it exactly once, in the order of offsets,
//   or is told that it missed something: a subscription that did not recover.
import assert from 'node:assert/strict';
import { connect } from './client.mjs';
import { Gateway, NAMESPACES, sleep, until } from './gateway.mjs';

export class Ledger {
  /** `channels`: names; publishers and listeners are spread over `gateways`. */
  constructor(gateways, channels, { pause = 2 } = {}) {
    Object.assign(this, { gateways, channels, pause, acknowledged: [], refusals: 0, sent: 0, listeners: [], on: true });
  }

  /** A listener on every channel. `events`: in the order in which the application saw them. */
  async listen(gateway, user) {
    const client = await connect(gateway, user, { timeout: 5000 });
    const listener = { client, user, events: new Map(), subscriptions: new Map() };
    for (const channel of this.channels) {
      const events = [];
      listener.events.set(channel, events);
      const subscription = client.centrifuge.newSubscription(channel, { minResubscribeDelay: 20, maxResubscribeDelay: 500 });
      listener.subscriptions.set(channel, subscription);
      subscription.on('publication', ({ offset, data }) => events.push({ offset, n: data.n }));
      subscription.on('subscribed', ({ recovered, wasRecovering, streamPosition }) =>
        events.push({ subscribed: true, isTold: wasRecovering && !recovered, position: streamPosition }));
      subscription.subscribe();
    }
    await until(() => this.channels.every((channel) => listener.events.get(channel).length > 0), `${user} listens`);
    this.listeners.push(listener);
    return listener;
  }

  /** One publisher a channel, each waiting for its answer, asking again with the same key. */
  start() {
    this.running = this.channels.map(async (channel, i) => {
      for (let turn = i; this.on; turn++) {
        const n = ++this.sent, key = `key-${n}`;
        for (let isFirst = true; this.on || !isFirst; isFirst = false) {
          const gateway = this.gateways[turn++ % this.gateways.length];
          const answer = await gateway.ask('publish', { channel, data: { n }, idempotency_key: key }).catch(() => null);
          if (answer) { this.acknowledged.push({ channel, n, ...answer, at: Date.now() }); break; }
          this.refusals++;
          await sleep(20);
        }
        await sleep(this.pause);
      }
    });
    return this;
  }

  /** Traffic until `count` more were acknowledged. */
  async more(count, what = `${count} more are acknowledged`) {
    const least = this.acknowledged.length + count;
    await until(() => this.acknowledged.length >= least, what);
  }

  async stop() { this.on = false; await Promise.all(this.running); }

  /** The last acknowledged publication of a channel. */
  last(channel) { return this.acknowledged.findLast((one) => one.channel === channel); }

  /** One more to every channel, which every listener hears: then nothing is under way.  Who
   *  was just being told of a loss may have missed that one, so there may be another. */
  async settle() {
    for (const channel of this.channels)
      await until(async () => {
        const n = await this.#oneMore(channel), end = Date.now() + 3000;
        const isHeard = () => this.listeners.every(({ events }) => events.get(channel).some((event) => event.n === n));
        while (!isHeard() && Date.now() < end) await sleep(10);
        return isHeard();
      }, `everybody heard the last of ${channel}`);
  }

  async #oneMore(channel) {
    const n = ++this.sent;
    const answer = await until(() => this.gateways[0].ask('publish', { channel, data: { n }, idempotency_key: `key-${n}` })
      .catch(() => null), 'the last one is acknowledged');
    this.acknowledged.push({ channel, n, ...answer, at: Date.now() });
    return n;
  }

  /** Judges; answers how many listener × channel were told, and how many acknowledged nobody has. */
  judge({ mayLose = false } = {}) {
    let told = 0, lost = 0;
    const places = new Map();
    for (const { channel, n, epoch, offset } of this.acknowledged) {
      const place = `${channel} ${epoch} ${offset}`;
      assert.ok(!places.has(place), `${place} was given to ${places.get(place)} and to ${n}`);
      places.set(place, n);
    }
    for (const listener of this.listeners)
      for (const channel of this.channels) {
        const { isTold, missing } = this.#judge(listener, channel, places);
        told += isTold;
        lost += missing;
        assert.ok(mayLose || missing === 0, `${listener.user} never heard ${missing} acknowledged in ${channel}`);
      }
    assert.ok(mayLose || told === 0, `${told} subscriptions were told of a loss, and there was none to be`);
    return { told, lost };
  }

  #judge({ user, events }, channel, places) {
    const heard = new Set(), since = new Set();
    let start = null, position = null, isTold = false;
    for (const event of events.get(channel)) {
      if (event.subscribed) {
        // Recovered: the missed ones came with it, as publications of their own.
        if (event.isTold) { isTold = true; since.clear(); }
        start ??= event.position;
        if (event.isTold || position === null) position = { ...event.position };
        else assert.equal(event.position.epoch, position.epoch, `${user}: recovered into another epoch of ${channel}`);
        continue;
      }
      const { offset, n } = event;
      assert.equal(offset, position.offset + 1, `${user}: offsets of ${channel} have a hole or go back`);
      assert.ok(!since.has(n), `${user} heard ${n} of ${channel} twice`);
      assert.ok(n <= this.sent && n >= 1, `${user} heard ${n}, which nobody published`);
      const known = places.get(`${channel} ${position.epoch} ${offset}`);
      assert.ok(known === undefined || known === n, `${user}: ${channel} ${offset} is ${n}, acknowledged was ${known}`);
      position.offset = offset;
      since.add(n);
      heard.add(n);
    }
    const missing = this.acknowledged.filter((one) => one.channel === channel && !heard.has(one.n) &&
      (one.epoch !== start.epoch || one.offset > start.offset)).length;
    assert.ok(missing === 0 || isTold, `${user} missed ${missing} of ${channel} and was told nothing`);
    return { isTold, missing };
  }

  /** What the store has at last: how many acknowledged are missing; nothing is there twice. */
  async missing() {
    let missing = 0;
    for (const channel of this.channels) {
      const { publications } = await this.gateways[0].ask('history', { channel, limit: -1 });
      const kept = new Set(publications.map(({ data }) => data.n));
      assert.equal(publications[0].offset, 1, 'the history is long enough to judge by');
      assert.equal(kept.size, publications.length, `${channel} holds something twice`);
      missing += this.acknowledged.filter((one) => one.channel === channel && !kept.has(one.n)).length;
    }
    return missing;
  }

  end() { for (const { client } of this.listeners) client.centrifuge.disconnect(); }
}

/** Of Redis: trouble is known soon. */
export const IMPATIENT = { connect_timeout: '1s', io_timeout: '3s' };
/** Everything is kept, to be judged. */
export const KEEPING = { channel: { namespaces: [{ ...NAMESPACES[0], history_size: 100000 }] } };

/** Two gateways over Redis, of one and of three shards, a listener on each, traffic on every
 *  channel: {gateways, ledger}.  `redis(i)`: the options of gateway i's Redis. */
export async function underLoad(t, channels, redis, config = {}) {
  const gateways = [];
  for (const [i, shards] of [1, 3].entries()) {
    const gateway = new Gateway({ shards, config: { storage: { engine: 'redis' }, ...config, redis: await redis(i) } });
    t.after(() => gateway.end());
    gateways.push(await gateway.start());
  }
  const ledger = new Ledger(gateways, channels);
  t.after(() => ledger.end());
  for (const [i, gateway] of gateways.entries()) await ledger.listen(gateway, `listener${i}`);
  ledger.start();
  t.after(() => ledger.stop());
  await ledger.more(100);
  return { gateways, ledger };
}
