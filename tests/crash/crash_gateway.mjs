// crash_gateway: the real gateway, killed with -9 under load again and again.
//
//   node crash_gateway.mjs [--rounds 200] [--seed 1] [--engine embedded|redis] [--keep]
//   node crash_gateway.mjs --fault forget|drop|double|reorder|phantom|alter
//                           a planted fault: succeeds when it is found
//   node crash_gateway.mjs --faults             each of them
//
// A round: start with a random number of shards and random sizes, sometimes killed before
// it is ready, sometimes with half a batch behind a log, a flipped bit in it or less of it; compare what the history
// holds with the book (book.mjs); let writers, readers
// and a backend (crowd.mjs) go on for a while; kill.  Now and then a round ends in calm
// instead: then everything is answered and everyone has everything.
//
// What holds over every kill: offsets without a gap, each message once, at the place that
// was told; everything acknowledged or delivered is there; nothing that nobody sent; a key
// answers what it answered first; every listener gets each offset once and in order, and its
// recovery succeeds; the epoch stays.
import { randomBytes } from 'node:crypto';
import { cpSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Gateway, sleep, until } from '../conformance/gateway.mjs';
import { random } from '../conformance/peer.mjs';
import { Redis } from '../conformance/redis.mjs';
import { Book, Wrong } from './book.mjs';
import { Backend, Reader, Writer } from './crowd.mjs';
import { flip, tear } from './damage.mjs';

const CHANNELS = 6;
const OVERLAP = 50; // of what an audit read before
const PREVIOUS_KEYS = 8; // that a gateway takes; no round is long enough for it to need one no more

/** What each planted fault must be called. */
const FAULTS = {
  forget: ['missing', 'moved', 'doubled'], // the disk is set back: what was acknowledged is gone
  drop: ['missing'],
  double: ['doubled'],
  reorder: ['missing', 'reordered'],
  phantom: ['phantom'],
  alter: ['altered'],
};

function parse(words) {
  const options = { rounds: 12, seed: 1, engine: 'embedded' };
  for (let i = 0; i < words.length; i++) {
    const name = words[i].replace(/^--/, '');
    if (name === 'keep' || name === 'faults') options[name] = true;
    else options[name] = typeof options[name] === 'number' ? Number(words[++i]) : words[++i];
  }
  return options;
}

class Scene {
  constructor(options) {
    this.options = options;
    this.random = random(options.seed);
    this.book = new Book();
    this.names = Array.from({ length: CHANNELS }, (_, i) => `crash:${i}`);
    this.isOver = this.isLoading = false;
    this.failure = null;
    this.isSealing = this.random(2) === 0;
    this.keys = [];
    this.struck = 0;
    this.torn = 0;
    this.flips = { refused: 0, started: 0, last: 0 };
    this.lives = 0;
  }

  pick() { return this.names[Math.min(this.random(CHANNELS), this.random(CHANNELS))]; }

  /** Runs what may find a fault, in a callback. */
  guard(work) {
    try { work(); } catch (error) { this.failure ??= error; }
  }
  check() { if (this.failure) throw this.failure; }

  /** What a listener is told: the truth, unless a fault is planted. */
  lie(ear, publication, hear) {
    const { fault } = this.options;
    const isNow = fault && fault !== 'forget' && this.struck === 0 && this.lives > 1 && this.random(50) === 0;
    if (this.held?.ear === ear) { // the second of two that change places
      const { held } = this;
      this.held = null;
      hear(publication);
      return hear(held.publication);
    }
    if (!isNow) return hear(publication);
    this.struck++;
    if (fault === 'drop') return undefined;
    if (fault === 'double') { hear(publication); return hear(publication); }
    if (fault === 'reorder') { this.held = { ear, publication }; return undefined; }
    if (fault === 'phantom') return hear({ ...publication, data: { id: 'nobody.1', body: '' } });
    return hear({ ...publication, data: { ...publication.data, body: `${publication.data.body}?` } });
  }

  config() {
    const storage = this.options.engine === 'redis'
      ? { storage: { engine: 'redis' }, redis: this.redis.patient }
      : { storage: { engine: 'embedded', path: join(this.gateway.dir, 'data') } };
    // In some runs sealed from a life on, and the key rotates.
    if (this.isSealing && this.keys.length <= PREVIOUS_KEYS && this.random(this.keys.length === 0 ? 3 : 20) === 0)
      this.keys.unshift(randomBytes(32).toString('hex'));
    if (this.keys.length > 0) Object.assign(storage.storage, { key: this.keys[0], previous_keys: this.keys.slice(1).join(',') });
    Object.assign(storage.storage, {
      window_size: [1, 50, 1000][this.random(3)],
      index_lag_max: ['1MiB', '256MiB'][this.random(2)],
      durability: this.random(4) === 0 ? 'written' : 'durable',
    });
    this.recoveryMax = [40, 2000][this.random(2)];
    return {
      ...storage,
      log: { level: 'info' },
      client: { ...this.gateway.config().client, recovery_max_publication_limit: this.recoveryMax, history_max_publication_limit: 1000,
        queue_max_size: '16MiB' },
      channel: { namespaces: [{ name: 'crash', history_size: 100000000, history_ttl: '24h', force_recovery: true,
        allow_subscribe_for_client: true, allow_publish_for_client: true, allow_history_for_client: true }] },
    };
  }

  async setup() {
    if (this.options.engine === 'redis') this.redis = await new Redis().start();
    this.gateway = new Gateway();
    this.people = [
      ...[1, 2, 3].map((number) => new Writer(this, number, { depth: 24 })),
      ...[1, 2].map((number) => new Reader(this, number)),
      new Backend(this, 4),
    ];
  }

  async teardown() {
    this.isOver = true;
    for (const person of this.people ?? []) person.leave?.();
    if (!this.options.keep) await this.gateway?.end();
    await this.redis?.end();
  }

  async start() {
    const shards = 1 + this.random(6);
    this.gateway.options.config = this.config();
    this.lives++;
    const isEarly = this.random(6) === 0;
    const starting = this.gateway.start({ shards });
    if (isEarly) {
      // The recovery itself is killed; what it left must be good enough for the next.
      await sleep(this.random(40));
      this.gateway.child.kill('SIGKILL');
      await this.gateway.exited;
      await starting.catch((error) => { if (!/SIGKILL/.test(error.message)) throw error; });
      return this.start();
    }
    await starting;
    return shards;
  }

  /** Between two lives the disk may be found as a crash or a bad medium leaves it. */
  async damage(isQuiet) {
    if (this.options.engine === 'redis' || this.options.fault) return;
    const data = join(this.gateway.dir, 'data');
    if (this.random(4) === 0) this.torn += tear(data, this.random);
    if (this.random(5) > 0 && !isQuiet) return;
    const flipped = flip(data, this.random);
    if (!flipped) return;
    // Refused with the name of the file, or nothing is missing.
    this.gateway.options.config = this.config();
    const from = this.gateway.log.length;
    const refusal = await this.gateway.start({ shards: 1 + this.random(6) }).then(() => null, (error) => error);
    if (refusal) {
      const name = basename(flipped.path);
      if (!/"code":[1-9]/.test(refusal.message) || !this.gateway.log.slice(from).includes(name))
        throw new Error(`a flipped bit of ${name} is not told: ${refusal.message}`);
      flipped.undo();
      this.flips.refused++;
      this.flips.last += flipped.isLast;
    } else {
      this.flips.started++;
      await this.audit(false);
      await this.gateway.kill();
    }
  }

  /** Reads each channel from about where the last audit ended, or from 1. */
  async audit(isWhole) {
    for (const name of this.names) {
      const channel = this.book.channel(name), demand = this.book.demand(name);
      const first = isWhole ? 0 : Math.max(0, channel.whole - OVERLAP);
      let since = first, publications = [], head = 0;
      for (;;) {
        const position = channel.epoch ? { since: { offset: since, epoch: channel.epoch } } : {};
        const page = await this.ask('history', { channel: name, limit: 1000, ...position });
        if (page.epoch) this.book.epoch(name, page.epoch);
        // The head is the first page's: what comes meanwhile is for the next audit.
        if (since === first) head = page.offset;
        const found = page.publications.filter((publication) => publication.offset <= head);
        publications = publications.concat(found);
        if (page.publications.length === 0 || publications.at(-1)?.offset === head || head === first) break;
        since = page.publications.at(-1).offset;
      }
      this.book.audited(name, first, publications, head, demand);
    }
  }

  async ask(method, body) {
    for (;;) {
      const answer = await this.gateway.api(method, body);
      if (!answer.error) return answer.result;
      if (answer.error.code !== 100) throw new Error(`${method}: ${JSON.stringify(answer.error)}`);
      await sleep(5);
    }
  }

  /** Nobody sends anything new: what was begun is answered, and everyone has everything. */
  async calm() {
    this.isLoading = false;
    const ears = this.people.flatMap((person) => [...person.ears?.values() ?? []]);
    // A subscription that began behind the last message may know of it before the book does.
    const head = (name) => Math.max(this.book.channel(name).head,
      ...ears.filter((ear) => ear.name === name && ear.isPlaced).map((ear) => ear.offset));
    const isQuiet = () => {
      this.check();
      return this.people.every((person) => person.isIdle ?? true) &&
        ears.every((ear) => ear.isPlaced && ear.offset === head(ear.name));
    };
    await until(isQuiet, 'everything is answered and everyone has everything', 120000).catch((error) => {
      if (error.kind) throw error; // what the book found while we waited
      const late = ears.filter((ear) => ear.offset !== head(ear.name))
        .map((ear) => `${ear.who} ${ear.name} ${ear.offset} of ${head(ear.name)}`);
      throw new Error(`missing: ${error.message}; ${late.join(', ')}; ${this.people.filter((person) => !(person.isIdle ?? true)).length} writers wait`);
    });
    await this.audit(false);
  }

  async round(number) {
    const shards = await this.start();
    this.isLoading = true;
    await this.audit(number % 50 === 0);
    const asked = this.book.counts.asked;
    // Mostly soon; some lives are long enough for the index to take part.
    await sleep(this.random(3) === 0 ? this.random(700) : this.random(150));
    await until(() => { this.check(); return this.book.counts.asked > asked + 50; }, 'there is load', 60000);
    const end = this.random(10);
    if (end === 0) {
      await this.calm();
      await sleep(300); // long enough for DIR/made to tell how far the logs reach
    }
    const { child } = this.gateway;
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`the gateway ended by itself: ${child.exitCode} ${child.signalCode}`);
    if (end === 1) await this.gateway.stop();
    else await this.gateway.kill();
    this.check();
    this.plant(number);
    if (end !== 1) await this.damage(end === 0);
    return shards;
  }

  /** Fault "forget": the disk is as it was some rounds ago. */
  plant(number) {
    if (this.options.fault !== 'forget') return;
    const data = join(this.gateway.dir, 'data'), copy = join(this.gateway.dir, 'copy');
    if (number === 2) cpSync(data, copy, { recursive: true });
    if (number !== 4) return;
    rmSync(data, { recursive: true });
    cpSync(copy, data, { recursive: true });
    this.struck++;
  }

  async play() {
    await this.setup();
    const lives = this.people.map((person) => person.live().catch((error) => { this.failure ??= error; }));
    for (let number = 1; number <= this.options.rounds; number++) {
      await this.round(number);
      if (process.stdout.isTTY || number % 20 === 0) console.log(`round ${number}: ${this.summary()}`);
    }
    await this.start();
    await this.calm();
    await this.audit(true);
    this.isOver = true;
    for (const person of this.people) person.leave?.();
    await this.gateway.stop();
    await Promise.all(lives);
    this.check();
  }

  summary() {
    const { asked, acked, repeated, unknown, heard, recovered, paged, audited } = this.book.counts;
    return `${asked} asked, ${acked} acknowledged, ${repeated} keys asked again, ${unknown} unknown, ${heard} seen ` +
      `(${audited} in history), ${recovered} recoveries, ${paged} paged, ${this.lives} starts, ${this.torn} torn tails, ` +
      `flipped bits: ${this.flips.refused} refused (${this.flips.last} at the end of a log), ${this.flips.started} harmless, ${this.keys.length} keys`;
  }
}

async function run(options) {
  const scene = new Scene(options);
  try {
    await scene.play();
    return { scene, error: null };
  } catch (error) {
    return { scene, error };
  } finally {
    await scene.teardown().catch((error) => console.log(String(error)));
  }
}

async function runFault(options) {
  const { scene, error } = await run(options);
  const isFound = error && FAULTS[options.fault].some((kind) => error.kind === kind || error.message.startsWith(kind));
  console.log(isFound ? `planted fault ${options.fault} found: ${error.message}`
    : `planted fault ${options.fault} (struck ${scene.struck} times) was NOT found: ${error?.stack ?? scene.summary()}`);
  return isFound;
}

const options = parse(process.argv.slice(2));
let isGood = true;
if (options.faults) {
  for (const fault of Object.keys(FAULTS)) isGood = await runFault({ ...options, fault }) && isGood;
} else if (options.fault) {
  isGood = await runFault(options);
} else {
  const { scene, error } = await run(options);
  isGood = error === null;
  console.log(`${isGood ? 'ok' : 'FAILED'}: ${options.rounds} rounds, seed ${options.seed}, ${options.engine}: ${scene.summary()}`);
  if (error) {
    console.log(error instanceof Wrong ? error.message : error.stack);
    console.log(`the gateway said at last:\n${scene.gateway?.log.slice(-3000)}`);
    if (options.keep) console.log(`its files: ${scene.gateway.dir}`);
  }
}
process.exit(isGood ? 0 : 1);
