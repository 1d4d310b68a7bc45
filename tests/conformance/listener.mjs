// A bare client in a storm: it checks everything that it hears as it arrives.
//
// Per channel and stretch of being subscribed: offsets without a hole, across
// stretches too where the channel recovers; the numbers of each writer without a
// hole; joins and leaves of each client in turn, its own join first.
import { sleep, token, until } from './gateway.mjs';
import { open } from './peer.mjs';

const ENDS = new Set([1006, 3503, 3005]); // cut by itself, banned, expired by a backend

export class Listener {
  /** plan: which channels keep a history and which tell joins, by the namespace; `subs`: channels of the token. */
  constructor(gateway, user, { wire, subs = [], plan }) {
    Object.assign(this, { gateway, user, wire, subs, plan, id: 1, client: null, faults: [], received: 0, connects: 0,
      channels: new Map(), wanted: new Set(), waiting: new Map(), isOver: false });
  }
  fault(text) { if (this.faults.length < 5) this.faults.push(`${this.user} (${this.wire}): ${text}`); }
  rules(name) { return this.plan[name.split(':')[0]]; }
  known(name) {
    if (!this.channels.has(name))
      this.channels.set(name, { offset: null, epoch: '', last: new Map(), there: new Map(), isOn: false, isLeaving: false, ended: 0 });
    return this.channels.get(name);
  }
  /** The names that it is subscribed to. */
  get on() { return [...this.channels].filter(([, known]) => known.isOn).map(([name]) => name); }

  /** Connects, again and again where a ban met it on the way, and subscribes to what it wants. */
  start() { this.back = this.open(); return this.back; }
  async open() {
    for (;;) {
      const peer = open(this.gateway, { wire: this.wire, onMessage: (message) => { if (peer === this.peer) this.take(message); } });
      peer.isConnected = true; // every message goes to take()
      this.peer = peer;
      peer.gone = new Promise((done) => peer.socket.once('close', done));
      peer.socket.on('close', (code) => this.closed(peer, code));
      await peer.ready;
      const subs = Object.fromEntries(this.subs.map((name) => [name, this.known(name)])
        .filter(([, known]) => known.offset !== null)
        .map(([name, { offset, epoch }]) => [name, { recover: true, offset, epoch }]));
      this.isConnecting = true;
      const claims = { sub: this.user, channels: this.subs, info: { of: this.user } };
      const reply = await this.ask({ connect: { token: token(claims), subs } }, (answer) => this.connected(answer));
      this.isConnecting = false;
      if (reply?.connect) break;
      if (reply && !reply.error.temporary) this.fault(`connect: ${JSON.stringify(reply.error)}`);
      peer.socket.terminate();
      await peer.gone;
      await sleep(5);
    }
    await Promise.all([...this.wanted].map((name) => this.subscribe(name)));
  }
  connected({ error, connect: result }) {
    if (error) return;
    this.client = result.client;
    this.connects++;
    const names = Object.keys(result.subs ?? {});
    if (names.sort().join() !== [...this.subs].sort().join()) this.fault(`connect: subscribed to ${names}`);
    for (const name of names) this.begun(name, result.subs[name], this.known(name).offset !== null);
  }
  closed(peer, code) {
    if (peer !== this.peer) return;
    if (!ENDS.has(code) && !this.isOver) this.fault(`closed with ${code} ${peer.closed.reason}`);
    this.client = null;
    for (const known of this.channels.values()) known.isOn = false;
    for (const { done } of this.waiting.values()) done(null);
    this.waiting.clear();
    if (!this.isOver && !this.isConnecting) this.start();
  }
  /** Resolves with the reply, null when the connection went; `onReply` runs before anything behind it is looked at. */
  async ask(command, onReply) { return (await this.askAll([command], onReply))[0]; }
  /** The same for commands in one frame. */
  askAll(commands, onReply) {
    if (this.peer.closed || this.peer.socket.readyState !== 1) return Promise.resolve(commands.map(() => null));
    const numbered = commands.map((command) => ({ id: ++this.id, ...command }));
    this.peer.send(...numbered);
    return Promise.all(numbered.map(({ id }) => new Promise((done) => this.waiting.set(id, { done, onReply }))));
  }
  async subscribe(name) {
    const known = this.known(name);
    const recover = known.offset !== null && this.rules(name).isKept;
    known.isLeaving = false;
    await this.ask({ subscribe: { channel: name, ...(recover && { recover, offset: known.offset, epoch: known.epoch }) } },
      ({ error, subscribe: result }) => {
        // An unsubscribe that overtook it: temporary, so that an SDK asks again.
        if (error?.temporary && (known.isLeaving || !this.wanted.has(name))) return;
        // A backend was before it; the push that tells of it has come or will.
        if (error?.code === 105) return;
        if (error) this.fault(`${name}: subscribe ${JSON.stringify(error)}`);
        else this.begun(name, result, recover);
      });
  }
  /** A stretch begins. */
  begun(name, result, recovers) {
    const known = this.known(name);
    if (known.isOn) this.fault(`${name}: subscribed twice`);
    known.isOn = true;
    known.last.clear();
    known.there.clear();
    if (!this.rules(name).isKept) return;
    if (recovers && !result.recovered) this.fault(`${name}: not recovered from ${known.offset} to ${result.offset}`);
    if (!recovers) known.offset = result.offset ?? 0;
    known.epoch = result.epoch;
    for (const pub of result.publications ?? []) this.publication(name, pub);
  }
  async leave(name) {
    const known = this.known(name);
    known.isLeaving = true;
    await this.ask({ unsubscribe: { channel: name } }, (reply) => {
      known.isOn = false;
      if (reply.error) this.fault(`${name}: unsubscribe ${JSON.stringify(reply.error)}`);
    });
  }
  take(message) {
    if (message.push) return this.push(message.push);
    const asked = this.waiting.get(message.id);
    if (asked === undefined) return; // a ping
    this.waiting.delete(message.id);
    asked.onReply?.(message);
    asked.done(message);
  }
  push({ channel: name, pub, join, leave, unsubscribe, subscribe, ...other }) {
    if (pub) this.publication(name, pub);
    else if (join) this.attends(name, join.info, true);
    else if (leave) this.attends(name, leave.info, false);
    else if (subscribe) this.begun(name, subscribe, false);
    else if (unsubscribe) this.ended(name, unsubscribe);
    else this.fault(`push ${JSON.stringify(other)}`);
  }
  /** A backend ended it; what is wanted is asked for again. */
  ended(name, { code, reason }) {
    const known = this.known(name);
    if (!known.isOn) this.fault(`${name}: ended without a subscription`);
    if (code !== 2000) this.fault(`${name}: ended with ${code} ${reason}`);
    known.isOn = false;
    if (this.wanted.has(name)) this.again = Promise.all([this.again, this.subscribe(name)]);
  }
  publication(name, pub) {
    const known = this.known(name);
    if (!known.isOn) return this.fault(`${name}: a publication without a subscription`);
    this.received++;
    if (this.rules(name).isKept) {
      if (pub.offset !== known.offset + 1) this.fault(`${name}: offset ${pub.offset} after ${known.offset}`);
      known.offset = pub.offset;
    }
    // Each writer counts per channel; within a stretch its numbers have no hole.
    const [writer, number] = pub.data;
    const before = known.last.get(writer);
    if (before !== undefined && number !== before + 1) this.fault(`${name}: ${writer} wrote ${number} after ${before}`);
    known.last.set(writer, number);
  }
  attends(name, info, isJoin) {
    const known = this.known(name);
    if (!known.isOn || !this.rules(name).tellsJoins) return this.fault(`${name}: told of ${JSON.stringify(info)}`);
    if (info.conn_info.of !== info.user) this.fault(`${name}: ${JSON.stringify(info)}`);
    if (known.there.size === 0 && (info.client !== this.client || !isJoin)) this.fault(`${name}: another one before its own join`);
    if (known.there.get(info.client) === isJoin) this.fault(`${name}: ${info.client} ${isJoin ? 'joined' : 'left'} twice`);
    known.there.set(info.client, isJoin);
  }
  /** Vanishes without a goodbye and comes back for what it missed. */
  async vanish() {
    const { peer } = this;
    peer.socket.terminate();
    await peer.gone;
    await this.back;
  }
  /** Nothing is under way. */
  async settle() {
    await until(() => this.client !== null && this.waiting.size === 0, `${this.user} is connected`, 60000);
    await this.back;
    await this.again;
  }
  /** Gone for good: by unsubscribing first, or all at once. */
  async end(isPolite) {
    this.isOver = true;
    if (isPolite) await Promise.all(this.on.map((name) => this.leave(name)));
    this.peer.socket.terminate();
    await this.peer.gone;
  }
}
