// 200 bare clients, half of them on the Protobuf wire, over 100 channels and 4
// shards: 10,000 publications while others subscribe, leave, vanish and come
// back, and a backend subscribes, unsubscribes, expires and bans users.  Each
// listener has each message of its time exactly once, in order (listener.mjs);
// whenever it is calm the gateway counts exactly what is there, and nothing when
// all have gone.  Made for the builds with TSan and ASan, whose reports
// Gateway.end() looks for; SLUICE_STORM scales it.
import assert from 'node:assert/strict';
import test from 'node:test';
import { range } from './client.mjs';
import { Gateway, SECRET, sleep, until } from './gateway.mjs';
import { Listener } from './listener.mjs';
import { random } from './peer.mjs';
import { Redis } from './redis.mjs';

const SCALE = Number(process.env.SLUICE_STORM ?? 1);
const STEADY = 100, JUMPERS = 60, VANISHERS = 40, BACKENDS = 4, BATCH = 5, SHARING = 4; // connections of one user
const names = (space, count) => range(1, count).map((n) => `${space}:${n}`);
const OWN = [...names('chat', 50), ...names('room', 20), ...names('live', 20)]; // clients subscribe
const PUSHED = names('push', 10); // a backend, or a token, subscribes them
const CHANNELS = [...OWN, ...PUSHED];
const PLAN = { chat: { isKept: true }, room: { isKept: true, isListed: true, tellsJoins: true }, live: { isListed: true },
  push: { isKept: true, isListed: true, tellsJoins: true } };
const OPTIONS = { isKept: { history_size: 100000, history_ttl: '300s', force_recovery: true }, isListed: { presence: true },
  tellsJoins: { join_leave: true, force_push_join_leave: true } };
const NAMESPACES = Object.entries(PLAN).map(([name, rules]) => ({ name, allow_publish_for_client: true,
  allow_subscribe_for_client: name !== 'push', ...Object.assign({}, ...Object.keys(rules).map((rule) => OPTIONS[rule])) }));

/** Where everybody waits while it is to be calm. */
class Gate {
  constructor(count) { Object.assign(this, { count, parked: 0 }); }
  async pass() {
    if (!this.shut) return;
    this.parked++;
    await this.shut;
    this.parked--;
  }
  /** Runs `work` while all who have not gone home wait. */
  async calm(work) {
    let open;
    this.shut = new Promise((done) => { open = done; });
    await until(() => this.parked === this.count, 'it is calm', 120000);
    await work();
    this.shut = null;
    open();
  }
}

class Storm {
  constructor(gateway, publications) {
    const pick = random(7);
    Object.assign(this, { gateway, publications, pick, isOver: false, sent: 0, refused: [], acts: 0,
      heads: new Map(CHANNELS.map((name) => [name, 0])), numbers: new Map() });
    const make = (count, kind, share, subs) => range(0, count - 1).map((n) => new Listener(gateway,
      `${kind}${Math.floor(n / share)}`, { wire: n % 2 === 0 ? 'json' : 'protobuf', subs, plan: PLAN }));
    this.steady = make(STEADY, 'steady', 1, []);
    this.jumpers = make(JUMPERS, 'jumper', SHARING, []);
    this.vanishers = make(VANISHERS, 'vanisher', SHARING, PUSHED.slice(0, 2));
    this.all = [...this.steady, ...this.jumpers, ...this.vanishers];
    this.gate = new Gate(this.all.length + BACKENDS + 1);
  }
  any(list) { return list[this.pick(list.length)]; }

  async begin() {
    for (let i = 0; i < this.all.length; i += 50) await Promise.all(this.all.slice(i, i + 50).map((listener) => listener.start()));
    await Promise.all([...this.steady, ...this.vanishers].map(async (listener, n) => {
      for (let k = 0; k < 5; k++) listener.wanted.add(OWN[(n * 7 + 18 * k) % OWN.length]);
      await Promise.all([...listener.wanted].map((name) => listener.subscribe(name)));
    }));
  }
  /** Repeats `work` until the storm is over. */
  async repeat(work) {
    for (let n = this.pick(100); !this.isOver; n++) {
      await this.gate.pass();
      if (!this.isOver) await work(n);
    }
    this.gate.count--;
  }
  async jump(listener, n) {
    await listener.settle();
    const name = OWN[(n * 7) % OWN.length];
    const subscribed = listener.subscribe(name);
    if (this.pick(3) > 0) await subscribed;
    if (this.pick(2) > 0) await sleep(this.pick(20));
    await Promise.all([subscribed, listener.leave(name)]);
  }
  async vanish(listener) {
    await sleep(100 + this.pick(400));
    await listener.settle();
    await listener.vanish();
  }
  /** One call of a backend; those who write are never disconnected. */
  async act(n) {
    const { user, on, client } = this.any(this.all);
    const mover = this.any([...this.jumpers, ...this.vanishers]);
    const same = this.all.filter((listener) => listener.user === mover.user && listener.client);
    const acts = [['subscribe', { user, channel: this.any(PUSHED) }], ['subscribe', { user, channel: this.any(OWN) }],
      ['subscribe', { user, channel: this.any(PUSHED), client: client ?? '' }],
      ['unsubscribe', { user, channel: this.any(PUSHED) }], ['unsubscribe', { user, channel: this.any(on.length > 0 ? on : OWN) }],
      ['unsubscribe', { user }], ['disconnect', { user: mover.user }], ['disconnect', { user: mover.user, client: mover.client ?? 'none' }],
      ['disconnect', { user: mover.user, whitelist: same.slice(1).map((listener) => listener.client) }],
      ['refresh', { user: mover.user, expired: true }], ['refresh', { user: mover.user, expire_at: 2e9 }]];
    await this.gateway.ask(...acts[n % acts.length]);
    this.acts++;
    await sleep(this.pick(10));
  }
  async write(listener, w) {
    for (let done = 0; done < this.publications / STEADY;) {
      await this.gate.pass();
      const batch = range(1, BATCH).map(() => {
        const name = this.any(CHANNELS), key = `${name} ${w}`;
        this.numbers.set(key, (this.numbers.get(key) ?? 0) + 1);
        this.heads.set(name, this.heads.get(name) + 1);
        return { publish: { channel: name, data: [w, this.numbers.get(key)] } };
      });
      const replies = this.pick(2) > 0 ? await listener.askAll(batch) : await Promise.all(batch.map((command) => listener.ask(command)));
      this.refused.push(...replies.filter((reply) => !reply?.publish));
      done += batch.length;
      this.sent += batch.length;
      await sleep(50 + this.pick(250)); // time for the others
    }
    this.gate.count--;
  }
  /** Counts twice on the way, then when nobody moves any more. */
  async watch() {
    for (const part of [0.3, 0.7]) {
      await until(() => this.sent >= this.publications * part, `${part} of it were sent`, 170000);
      this.gate.count--;
      await this.gate.calm(() => this.compare());
      this.gate.count++;
    }
    this.gate.count--;
  }
  async run() {
    const moving = [...this.jumpers.map((listener) => this.repeat((n) => this.jump(listener, n))),
      ...this.vanishers.map((listener) => this.repeat(() => this.vanish(listener))), ...range(1, BACKENDS).map(() => this.repeat((n) => this.act(n)))];
    await Promise.all([...this.steady.map((listener, w) => this.write(listener, w)), this.watch()]);
    this.isOver = true;
    await Promise.all(moving);
    assert.deepEqual(this.refused, []);
  }

  /** What is there by the clients' own account. */
  model() {
    const count = (list) => list.reduce((sum, n) => sum + n, 0);
    const subs = this.all.map((listener) => listener.on);
    const listed = (name) => PLAN[name.split(':')[0]].isListed;
    const hubs = new Set(this.all.flatMap((listener, i) => subs[i].map((name) => `${this.shardOf(listener)} ${name}`)));
    const present = this.all.filter((listener) => listener.client);
    return { node_num_clients: present.length, node_num_user_sessions: present.length,
      node_num_users: new Set(present.map((listener) => listener.user)).size,
      node_num_subscriptions: count(subs.map((list) => list.length)), node_num_hubs: hubs.size,
      node_num_presence: count(subs.map((list) => list.filter(listed).length)), node_num_channels: new Set(subs.flat()).size };
  }
  shardOf({ client }) {
    this.shards ??= new Map();
    for (const [, id, shard] of this.gateway.log.slice(this.logged ?? 0).matchAll(/client connected client=(\S+) .*shard=(\d+)/g))
      this.shards.set(id, Number(shard));
    this.logged = this.gateway.log.lastIndexOf('\n') + 1;
    return this.shards.get(client);
  }
  async counted() {
    const text = await (await fetch(`${this.gateway.http}/metrics`)).text();
    return Object.fromEntries(Object.keys(this.model()).map((name) => [name, Number(new RegExp(`^sluice_${name} (\\d+)$`, 'm').exec(text)[1])]));
  }
  /** The gateway counts what the clients are, each shard its own, and lists who listens. */
  async compare() {
    await Promise.all(this.all.map((listener) => listener.settle()));
    let seen = null;
    await until(async () => {
      seen = await this.counted();
      return JSON.stringify(seen) === JSON.stringify(this.model());
    }, '').catch(() => assert.deepEqual(seen, this.model()));
    const [node] = (await this.gateway.ask('info', {})).nodes;
    node.shards.forEach((shard, i) => {
      const here = this.all.filter((listener) => this.shardOf(listener) === i);
      assert.equal(shard.num_clients, here.length);
      assert.equal(shard.num_subs, here.reduce((sum, listener) => sum + listener.on.length, 0));
    });
    const { channels } = await this.gateway.ask('channels', {});
    const heard = (name) => this.all.filter((listener) => listener.on.includes(name));
    assert.deepEqual(channels, Object.fromEntries(CHANNELS.filter((name) => heard(name).length > 0)
      .map((name) => [name, { num_clients: heard(name).length }])));
    for (const name of CHANNELS.filter((each) => PLAN[each.split(':')[0]].isListed)) {
      const { presence } = await this.gateway.ask('presence', { channel: name });
      assert.deepEqual(Object.values(presence).map(({ client, user }) => `${client} ${user}`).sort(),
        heard(name).map(({ client, user }) => `${client} ${user}`).sort(), name);
      if (PLAN[name.split(':')[0]].tellsJoins) this.compareJoins(name, heard(name));
    }
    assert.deepEqual(this.all.flatMap((listener) => listener.faults), []);
  }
  /** Whom a listener was told to be there is there, and nobody whom it was told to have left. */
  compareJoins(name, heard) {
    const here = new Set(heard.map(({ client }) => client));
    for (const listener of heard)
      for (const [client, isThere] of listener.known(name).there)
        if (isThere !== here.has(client)) listener.fault(`${name}: told that ${client} ${isThere ? 'came' : 'went'}`);
  }
  /** A last word in every channel: with it everything before it has arrived. */
  async finish() {
    for (const name of CHANNELS) {
      this.heads.set(name, this.heads.get(name) + 1);
      await this.gateway.ask('publish', { channel: name, data: ['end', 1] });
    }
    for (const listener of this.all)
      for (const name of listener.on) {
        const known = listener.known(name);
        await until(() => known.last.has('end') || listener.faults.length > 0, `${listener.user} has ${name} to its end`);
        if (PLAN[name.split(':')[0]].isKept && known.offset !== this.heads.get(name)) listener.fault(`${name}: ends at ${known.offset}`);
        for (const [w, number] of known.last)
          if (w !== 'end' && number !== this.numbers.get(`${name} ${w}`)) listener.fault(`${name}: ${w} ends at ${number}`);
      }
    for (const [name, head] of this.heads)
      if (PLAN[name.split(':')[0]].isKept) assert.equal((await this.gateway.ask('history', { channel: name, limit: 0 })).offset, head);
    await this.compare();
  }
  /** Everybody goes, in one way or the other; nothing is left of them. */
  async end() {
    await Promise.all(this.all.map((listener, n) => listener.end(n % 3 === 0)));
    const zero = Object.fromEntries([...Object.keys(this.model()), 'node_num_texts'].map((name) => [name, 0]));
    let seen = null;
    await until(async () => {
      seen = { ...await this.counted(), node_num_texts: await this.gateway.metric('node_num_texts') };
      return Object.values(seen).every((value) => value === 0);
    }, '').catch(() => assert.deepEqual(seen, zero));
    const [node] = (await this.gateway.ask('info', {})).nodes;
    assert.ok(node.shards.every((shard) => shard.num_clients === 0 && shard.num_subs === 0 && shard.num_channels === 0));
  }
}

async function play(t, store, share = 1) {
  const gateway = new Gateway({ shards: 4 });
  gateway.options.config = { ...store(gateway), channel: { namespaces: NAMESPACES },
    client: { token: { hmac_secret_key: SECRET }, allowed_origins: ['*'], recovery_max_publication_limit: 10000 } };
  t.after(() => gateway.end());
  await gateway.start();
  const storm = new Storm(gateway, Math.round(10000 * SCALE * share));
  await storm.begin();
  await storm.run();
  await storm.finish();
  const sum = (name) => storm.all.reduce((total, listener) => total + listener[name], 0);
  t.diagnostic(`${storm.sent} publications, ${sum('received')} deliveries, ${sum('connects')} connects, ${storm.acts} calls`);
  await storm.end();
  assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
}

test('embedded', (t) => play(t, (gateway) => ({ storage: { engine: 'embedded', path: `${gateway.dir}/data` } })));
test('memory', (t) => play(t, () => ({ storage: { engine: 'memory' } }), 0.4));
test('redis', async (t) => {
  const redis = await new Redis().start();
  t.after(() => redis.end());
  await play(t, () => ({ storage: { engine: 'redis' }, redis: redis.patient }), 0.4);
});
