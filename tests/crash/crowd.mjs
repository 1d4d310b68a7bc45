// Who talks to the gateway while it is killed: writers and readers on WebSockets, and a
// backend on the server API.  All come back by themselves, with what they remember.
import { sleep, token } from '../conformance/gateway.mjs';
import { open } from '../conformance/peer.mjs';
import { Answers, bodyOf, Ear } from './book.mjs';

const PAGE = 1000;

/** A connection that is made again for as long as the scene lasts. */
class Person {
  constructor(scene, user, wire = 'json') {
    Object.assign(this, { scene, user, wire, asks: new Map(), ids: 1, peer: null, isOn: false });
  }

  async live() {
    while (!this.scene.isOver) {
      await this.session();
      await sleep(this.absence());
    }
  }

  absence() { return 2 + this.scene.random(15); }

  async session() {
    const peer = open(this.scene.gateway, { wire: this.wire, handshakeTimeout: 5000,
      onMessage: (message) => this.scene.guard(() => this.hear(message)) });
    const closed = new Promise((done) => peer.socket.once('close', done));
    await peer.ready;
    if (!peer.error && peer.socket.readyState === 1) {
      this.peer = peer;
      peer.isConnected = true;
      this.asks.clear();
      this.ids = 1;
      peer.send({ id: 1, connect: { token: token({ sub: this.user }) } });
      this.asks.set(1, (reply) => { this.isOn = !reply.error; this.isOn ? this.connected() : peer.socket.terminate(); });
    }
    await closed;
    this.isOn = false;
    this.peer = null;
    this.scene.guard(() => this.gone());
  }

  /** Sends a command; `answer` gets its reply, if one comes. */
  ask(command, answer) {
    const id = ++this.ids;
    this.asks.set(id, answer);
    this.peer.send({ id, ...command });
  }

  hear(message) {
    if (message.push) return this.push(message.push);
    const answer = this.asks.get(message.id);
    if (!answer) return undefined; // a ping
    this.asks.delete(message.id);
    return answer(message);
  }

  leave() { this.peer?.socket.terminate(); }
  push() {}
  gone() {}
}

/** Which errors say that it may have happened: proto/outcome.def. */
const isUnknown = (error) => /unknown outcome/.test(error.message);

/** Sends with keys, and again with the same key until an answer comes; and now and then
 *  without a key, once. */
export class Writer extends Person {
  constructor(scene, number, { depth }) {
    super(scene, `writer${number}`, number % 2 ? 'json' : 'protobuf');
    Object.assign(this, { depth, count: 0, open: new Map(), done: [], answers: new Answers() });
  }

  connected() {
    this.answers = new Answers();
    for (const message of this.open.values()) { message.tries++; this.send(message); }
    if (this.done.length > 0) this.askAgain();
    this.fill();
  }

  fill() {
    if (!this.scene.isLoading || this.scene.isOver) return;
    while (this.isOn && this.asks.size < this.depth) {
      const id = `${this.user}.${++this.count}`, name = this.scene.pick();
      this.scene.book.asked(id, name);
      if (this.scene.random(10) > 0) {
        const message = { id, name, tries: 1 };
        this.open.set(id, message);
        this.send(message);
      } else {
        this.sendOnce(id, name);
      }
    }
  }

  send(message) {
    const { id, name } = message;
    this.ask({ rpc: { method: 'message.send', data: { channel: name, key: id, data: { id, body: bodyOf(id) } } } }, (reply) => {
      if (reply.error) return this.retry(message, reply.error);
      const { offset, epoch } = reply.rpc.data;
      if (message.tries === 1) this.answers.take(name, offset, id);
      this.scene.book.acked(id, offset, epoch);
      this.open.delete(id);
      if (this.scene.random(8) === 0) this.done[this.scene.random(64)] = message;
      if (this.scene.random(40) === 0) this.askAgain();
      return this.fill();
    });
  }

  retry(message, error) {
    if (!error.temporary) throw new Error(`${message.id}: ${JSON.stringify(error)}`);
    message.tries++;
    const { peer } = this;
    setTimeout(() => this.scene.guard(() => { if (this.peer === peer && this.isOn) this.send(message); }), 5 + this.scene.random(30));
  }

  /** Other data under a key that was spent changes nothing. */
  askAgain() {
    const message = this.done.filter(Boolean)[0];
    if (!message) return;
    const { id, name } = message;
    this.ask({ rpc: { method: 'message.send', data: { channel: name, key: id, data: { id: `${id} again` } } } }, (reply) => {
      if (reply.error) return;
      this.scene.book.repeated(id, reply.rpc.data.offset, reply.rpc.data.epoch);
      this.fill();
    });
  }

  sendOnce(id, name) {
    const { book } = this.scene;
    const once = { id, isAnswered: false };
    this.once ??= new Set();
    this.once.add(once);
    this.ask({ publish: { channel: name, data: { id, body: bodyOf(id) } } }, (reply) => {
      this.once.delete(once);
      if (!reply.error) book.acked(id, 0);
      else if (!reply.error.temporary) throw new Error(`${id}: ${JSON.stringify(reply.error)}`);
      else if (isUnknown(reply.error)) book.unknown(id);
      else book.refused(id);
      this.fill();
    });
  }

  gone() {
    for (const { id } of this.once ?? []) this.scene.book.unknown(id);
    this.once?.clear();
  }

  get isIdle() { return this.open.size === 0; }
}

/** Listens to every channel and goes on where it was. */
export class Reader extends Person {
  constructor(scene, number) {
    super(scene, `reader${number}`, number % 2 ? 'protobuf' : 'json');
    this.ears = new Map(scene.names.map((name) => [name, new Ear(scene.book, name, this.user)]));
    this.kept = new Map(); // pushes of a channel whose gap is being paged
  }

  /** Sometimes away for so long that more was missed than a subscription brings. */
  absence() { return this.scene.random(3) === 0 ? this.scene.random(1500) : super.absence(); }

  connected() {
    this.kept.clear();
    for (const [name, ear] of this.ears) {
      const demand = this.scene.book.demand(name);
      this.kept.set(name, []);
      const position = ear.isPlaced ? { recover: true, offset: ear.offset, epoch: ear.epoch } : {};
      this.ask({ subscribe: { channel: name, ...position } }, (reply) => {
        if (reply.error) {
          if (!reply.error.temporary) throw new Error(`${this.user} subscribes ${name}: ${JSON.stringify(reply.error)}`);
          return this.leave();
        }
        return this.subscribed(ear, reply.subscribe, demand);
      });
    }
  }

  subscribed(ear, { epoch, offset = 0, recovered, publications = [] }, demand) {
    if (!ear.isPlaced) {
      ear.begin(offset, epoch, demand);
      return this.release(ear);
    }
    this.scene.book.epoch(ear.name, epoch);
    if (recovered) {
      this.scene.book.counts.recovered++;
      for (const publication of publications) this.scene.lie(ear, publication, (told) => ear.hear(told));
      if (ear.offset < demand.head)
        throw new Error(`missing: ${this.user} recovers ${ear.name} up to ${ear.offset}, ${demand.head} was told before`);
      return this.release(ear);
    }
    if (offset - ear.offset <= this.scene.recoveryMax)
      throw new Error(`missing: ${this.user} is told that ${offset - ear.offset} of ${ear.name} cannot be recovered`);
    this.scene.book.counts.paged++;
    return this.page(ear, offset);
  }

  /** More was missed than a subscription brings: the history leads up to `head`. */
  page(ear, head) {
    this.ask({ history: { channel: ear.name, limit: PAGE, since: { offset: ear.offset, epoch: ear.epoch } } }, (reply) => {
      if (reply.error) {
        if (!reply.error.temporary) throw new Error(`${this.user} pages ${ear.name}: ${JSON.stringify(reply.error)}`);
        return this.leave();
      }
      // Beyond the head of the subscription the pushes tell.
      for (const publication of reply.history.publications ?? []) if (publication.offset <= head) ear.hear(publication);
      return ear.offset < head ? this.page(ear, head) : this.release(ear);
    });
  }

  release(ear) {
    const kept = this.kept.get(ear.name);
    this.kept.delete(ear.name);
    for (const publication of kept) ear.hear(publication);
  }

  push({ channel, pub }) {
    if (!pub) return;
    const ear = this.ears.get(channel), kept = this.kept.get(channel);
    if (kept) kept.push(pub);
    else this.scene.lie(ear, pub, (told) => ear.hear(told));
  }
}

/** A backend: some publications at a time, each with its key until it is answered. */
export class Backend {
  constructor(scene, width) { Object.assign(this, { scene, width, count: 0, busy: 0 }); }

  async live() { await Promise.all(Array.from({ length: this.width }, () => this.lane())); }

  async lane() {
    const { scene } = this;
    while (!scene.isOver) {
      if (!scene.isLoading) { await sleep(5); continue; }
      const id = `backend.${++this.count}`, name = scene.pick();
      scene.book.asked(id, name);
      this.busy++;
      const body = { channel: name, idempotency_key: id, data: { id, body: bodyOf(id) } };
      for (let isDone = false; !isDone && !scene.isOver;) isDone = await this.publish(id, body);
      this.busy--;
    }
  }

  async publish(id, body) {
    let answer;
    try { answer = await this.scene.gateway.api('publish', body); } catch { answer = null; }
    if (!answer || answer.error) {
      if (answer && answer.error.code !== 100) this.scene.guard(() => { throw new Error(`${id}: ${JSON.stringify(answer.error)}`); });
      await sleep(5 + this.scene.random(20));
      return false;
    }
    this.scene.guard(() => this.scene.book.acked(id, answer.result.offset, answer.result.epoch));
    return true;
  }

  get isIdle() { return this.busy === 0; }
}
