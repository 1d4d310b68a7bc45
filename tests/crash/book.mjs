// The book: every message that was ever asked for, and what anyone was told of it.
//
// Whoever sees a publication, hears an answer or reads a history writes it down here; the
// book throws as soon as two tellings cannot both be true.  It asks the gateway nothing and
// knows nothing of its inside.

/** What the message `id` carries: filler that follows from the id, so that a cut, a mix-up
 *  and a flipped bit show. */
export function bodyOf(id) {
  let hash = 2166136261;
  for (let i = 0; i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 16777619) >>> 0;
  const size = hash % 97 === 0 ? 9000 : hash % 7 === 0 ? 700 : hash % 120;
  return (hash.toString(36) + '.').repeat(size / 6 + 1).slice(0, size);
}

export class Wrong extends Error {}

const wrong = (kind, text) => { throw Object.assign(new Wrong(`${kind}: ${text}`), { kind }); };

export class Book {
  constructor() {
    this.messages = new Map();
    this.channels = new Map();
    this.counts = { asked: 0, acked: 0, repeated: 0, unknown: 0, heard: 0, recovered: 0, paged: 0, audited: 0 };
  }

  channel(name) {
    let channel = this.channels.get(name);
    // at[offset]: the message there.  unplaced: acknowledged without being told where.
    if (!channel) this.channels.set(name, channel = { name, epoch: '', head: 0, at: [], whole: 0, unplaced: new Set() });
    return channel;
  }

  /** Someone is about to send it. */
  asked(id, name) {
    if (this.messages.has(id)) throw new Error(`message ${id} twice`);
    this.messages.set(id, { id, channel: this.channel(name), fate: 'open', offset: 0 });
    this.counts.asked++;
  }

  epoch(name, epoch) {
    const channel = this.channel(name);
    if (!epoch) wrong('epoch', `${name} has none`);
    channel.epoch ||= epoch;
    if (channel.epoch !== epoch) wrong('epoch', `${name} was ${channel.epoch} and is ${epoch}, although nothing can be lost`);
  }

  /** It stands at `offset`; from here on it stays there. */
  place(message, offset, how) {
    const { channel, id } = message;
    if (!Number.isSafeInteger(offset) || offset < 1) wrong('offset', `${id} ${how} at ${offset}`);
    if (message.offset && message.offset !== offset)
      wrong('doubled', `${id} of ${channel.name} stood at ${message.offset} and is ${how} at ${offset}`);
    const known = channel.at[offset];
    if (known && known !== id) wrong('moved', `offset ${offset} of ${channel.name} was ${known} and is ${how} ${id}`);
    channel.at[offset] = id;
    channel.head = Math.max(channel.head, offset);
    channel.unplaced.delete(id);
    message.offset = offset;
  }

  /** Answered with yes; `offset` 0 when the answer tells none. */
  acked(id, offset, epoch) {
    const message = this.messages.get(id);
    if (message.fate === 'refused') wrong('refused', `${id} was refused and is acknowledged`);
    if (epoch !== undefined) this.epoch(message.channel.name, epoch);
    if (offset) this.place(message, offset, 'acknowledged');
    else if (!message.offset) message.channel.unplaced.add(id);
    if (message.fate !== 'acked') this.counts.acked++;
    message.fate = 'acked';
  }

  /** The key was asked about again: the first answer. */
  repeated(id, offset, epoch) {
    const message = this.messages.get(id);
    if (message.offset !== offset)
      wrong('doubled', `${id} of ${message.channel.name} stood at ${message.offset}, its key answers ${offset}`);
    this.epoch(message.channel.name, epoch);
    this.counts.repeated++;
  }

  /** Nobody answered, or "unknown": it may have happened. */
  unknown(id) {
    const message = this.messages.get(id);
    if (message.fate === 'open') message.fate = 'unknown';
    this.counts.unknown++;
  }

  /** A refusal that leaves nothing behind. */
  refused(id) {
    const message = this.messages.get(id);
    if (message.offset) wrong('refused', `${id} of ${message.channel.name} was refused and stands at ${message.offset}`);
    message.fate = 'refused';
  }

  /** A publication was delivered or read. */
  seen(name, { offset, data }, how) {
    const message = this.messages.get(data?.id);
    if (!message) wrong('phantom', `${name} offset ${offset} ${how}: ${JSON.stringify(data).slice(0, 80)}`);
    if (message.channel.name !== name) wrong('phantom', `${message.id} of ${message.channel.name} is ${how} in ${name}`);
    if (data.body !== bodyOf(message.id)) wrong('altered', `${message.id} of ${name}, offset ${offset}, ${how}`);
    if (message.fate === 'refused') wrong('refused', `${message.id} of ${name} was refused and is ${how} at ${offset}`);
    this.place(message, offset, how);
    this.counts.heard++;
  }

  /** What must be in the next audit of `name`: everything known by now. */
  demand(name) {
    const channel = this.channel(name);
    return { head: channel.head, unplaced: [...channel.unplaced] };
  }

  /** History from `since` to `head`, in order, was read after `demand`. */
  audited(name, since, publications, head, demand) {
    const channel = this.channel(name);
    let last = since;
    for (const publication of publications) {
      if (publication.offset !== last + 1)
        wrong(publication.offset <= last ? 'reordered' : 'missing', `history of ${name}: ${publication.offset} after ${last}`);
      this.seen(name, publication, 'in history');
      last = publication.offset;
    }
    if (last !== head) wrong('missing', `history of ${name} ends at ${last}, its head is ${head}`);
    if (head < demand.head)
      wrong('missing', `${name} ends at ${head}; ${channel.at[demand.head]} was told at ${demand.head}`);
    // Everything below `whole` was read before; the rest is read now, so each has its place.
    if (since <= channel.whole)
      for (const id of demand.unplaced)
        if (channel.unplaced.has(id)) wrong('missing', `${id} of ${name} was acknowledged`);
    if (since <= channel.whole) channel.whole = Math.max(channel.whole, head);
    this.counts.audited += publications.length;
  }
}

/** What one listener of one channel was given: every offset once and in order. */
export class Ear {
  constructor(book, name, who) {
    Object.assign(this, { book, name, who, offset: 0, epoch: '', isPlaced: false });
  }

  /** A subscription without a position begins at the head. */
  begin(offset, epoch, demand) {
    this.book.epoch(this.name, epoch);
    if (offset < demand.head) wrong('missing', `${this.who} begins ${this.name} at ${offset}, ${demand.head} was told before`);
    Object.assign(this, { offset, epoch, isPlaced: true });
  }

  hear(publication) {
    const { offset } = publication;
    if (offset !== this.offset + 1)
      wrong(offset > this.offset ? 'missing' : this.book.channel(this.name).at[offset] === publication.data?.id ? 'doubled' : 'reordered',
        `${this.who} gets ${offset} of ${this.name} after ${this.offset}`);
    this.book.seen(this.name, publication, `delivered to ${this.who}`);
    this.offset = offset;
  }
}

/** Answers on one connection come in the order of the offsets. */
export class Answers {
  constructor() { this.newest = new Map(); }
  take(name, offset, id) {
    if (offset <= (this.newest.get(name) ?? 0))
      wrong('reordered', `the answer for ${id}, offset ${offset} of ${name}, comes after that of ${this.newest.get(name)}`);
    this.newest.set(name, offset);
  }
}
