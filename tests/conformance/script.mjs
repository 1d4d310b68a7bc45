// Every command of the client protocol, as an application of the official SDK
// meets it: a table of scenes, each with the lines that it must note, whatever
// the wire, the number of shards, and where it plays.  No import: a page in a
// browser loads this file too.

const HISTORY = { history_size: 100, history_ttl: '300s' };
const CLIENTS = { allow_subscribe_for_client: true, allow_publish_for_client: true, allow_history_for_client: true };
const LIMIT = 6; // client.channel_limit

/** Options of the gateway that the scenes play on. */
export const channel = {
  namespaces: [
    { name: 'chat', ...HISTORY, ...CLIENTS, force_recovery: true },
    { name: 'short', ...HISTORY, ...CLIENTS, history_size: 2, force_recovery: true },
    { name: 'live', allow_subscribe_for_client: true, allow_publish_for_subscriber: true },
    { name: 'may', ...HISTORY, allow_subscribe_for_client: true, allow_positioning: true, allow_recovery: true },
    { name: 'pos', ...HISTORY, ...CLIENTS, force_positioning: true },
    { name: 'last', ...HISTORY, ...CLIENTS, force_recovery: true, force_recovery_mode: 'cache' },
    { name: 'auto', ...HISTORY, ...CLIENTS, force_recovery: true, force_recovery_mode: 'cache', auto_cache_recover: true },
    { name: 'room', ...CLIENTS, presence: true, join_leave: true, allow_presence_for_subscriber: true },
    { name: 'shut', ...HISTORY, presence: true, allow_publish_for_subscriber: true },
    { name: 'list', allow_user_limited_channels: true },
    { name: 'object', ...CLIENTS, publication_data_format: 'json_object' },
  ],
};
export const client = { channel_limit: LIMIT };
/** Of a second one, for what would disturb the others. */
export const busy = { command_rate_limit: 4, ping_interval: '2s', pong_timeout: '1900ms' };

const encoder = new TextEncoder(), decoder = new TextDecoder();

/** A WebSocket that counts what goes and comes, and lists its frames. */
export const counting = (Base) => class extends Base {
  constructor(...args) {
    super(...args);
    this.constructor.last = this;
    Object.assign(this, { sentCount: 0, pings: 0, pongs: 0 });
    this.addEventListener('message', ({ data }) => { if (isEmpty(data)) this.pings++; });
  }
  send(data, ...rest) {
    if (isEmpty(data)) this.pongs++;
    else this.sentCount++;
    return super.send(data, ...rest);
  }
};
/** A ping or a pong. */
const isEmpty = (data) => data === '{}' || (data?.byteLength === 1
  && (ArrayBuffer.isView(data) ? data[0] : new Uint8Array(data)[0]) === 0);

/**
 * What a scene works with.  `at` names where it plays:
 *   wire, Centrifuge, WebSocket   the SDK and what it speaks through
 *   url, busyUrl                  a gateway, and the second one
 *   tag                           makes names of this play its own
 *   api(method, body), token(claims), place(client id, n)   promises; place is false when
 *                                 the nth client should be on another shard
 */
export class Scene {
  constructor(at) { Object.assign(this, { at, names: new Map(), clients: [], placed: 0 }); }

  name(text) { return `${text}-${this.at.tag}`; }
  plain(text) { return String(text).replaceAll(`-${this.at.tag}`, ''); }
  pack(value) { return this.at.wire === 'json' ? value : encoder.encode(JSON.stringify(value)); }
  unpack(data) {
    if (this.at.wire === 'json' || data === undefined || data === null) return data ?? undefined;
    return data.length === 0 ? undefined : JSON.parse(decoder.decode(data));
  }
  /** As JSON, or bytes that are none. */
  show(data) {
    try { return this.plain(JSON.stringify(this.unpack(data))); } catch { return `<${[...data].join(' ')}>`; }
  }
  isGiven(data) { return data !== undefined && data !== null && data.length !== 0; }
  who(info) {
    const extra = [info.connInfo, info.chanInfo].map((data) => (this.isGiven(data) ? ` ${this.show(data)}` : ''));
    return `${this.names.get(info.client) ?? 'a stranger'} of ${this.plain(info.user)}${extra.join(' /')}`.replace(/ \/$/, '');
  }
  pub({ data, offset, info, tags }) {
    return [offset > 0 ? `@${offset}` : '@', this.show(data), info ? `by ${this.who(info)}` : '',
      tags && Object.keys(tags).length > 0 ? JSON.stringify({ ...tags }) : ''].filter(Boolean).join(' ');
  }
  position(context) {
    const words = ['recoverable', 'positioned', 'wasRecovering', 'recovered', 'hasRecoveredPublications'].filter((word) => context[word]);
    const at = context.streamPosition ? `@${context.streamPosition.offset}${context.streamPosition.epoch ? '' : ' without epoch'}` : '';
    return [...words, at, this.isGiven(context.data) ? this.show(context.data) : ''].filter(Boolean).join(' ');
  }
  /** What a call came to, as a line. */
  async told(promise, tell = () => 'done') {
    try { return tell(await promise); } catch (error) { return this.error(error); }
  }
  error({ code, message, temporary }) { return `${code} ${message}${temporary ? ', temporary' : ''}`; }

  async until(probe, what) {
    const end = Date.now() + 60000;
    while (!await probe()) {
      if (Date.now() > end) throw new Error(`timed out waiting until ${what}`);
      await new Promise((done) => setTimeout(done, 10));
    }
  }
  /** A client that notes its own events; `token` is made of `claims` unless given. */
  async make(user, { claims, url, ...options } = {}) {
    const made = { log: [], user, WebSocket: counting(this.at.WebSocket), connects: 0 };
    made.centrifuge = new this.at.Centrifuge(url ?? this.at.url, { websocket: made.WebSocket, timeout: 30000, minReconnectDelay: 20,
      maxReconnectDelay: 200, token: options.getToken ? '' : await this.at.token({ sub: this.name(user), ...claims }), ...options });
    const note = (line) => made.log.push(line);
    const on = (event, tell) => made.centrifuge.on(event, tell);
    on('connecting', ({ code, reason }) => note(`connecting ${code} ${reason}`));
    on('connected', (context) => {
      this.names.set(context.client, user);
      made.id = context.client;
      made.connects++;
      note(`connected by ${context.transport}`);
    });
    on('disconnected', ({ code, reason }) => note(`disconnected ${code} ${reason}`));
    on('error', ({ type, error }) => note(`error ${type} ${this.error(error)}`));
    on('subscribed', (context) => note(`subscribed ${this.plain(context.channel)} ${this.position(context)}`.trim()));
    on('subscribing', (context) => note(`subscribing ${this.plain(context.channel)}`));
    on('unsubscribed', (context) => note(`unsubscribed ${this.plain(context.channel)}`));
    on('publication', (context) => note(`publication ${this.plain(context.channel)} ${this.pub(context)}`));
    on('join', (context) => note(`join ${this.plain(context.channel)} ${this.who(context.info)}`));
    on('leave', (context) => note(`leave ${this.plain(context.channel)} ${this.who(context.info)}`));
    this.clients.push(made);
    return made;
  }
  /** One that is connected, each on the next shard. */
  async join(user, options) {
    const n = this.placed++;
    for (;;) {
      const made = await this.make(user, options);
      made.centrifuge.connect();
      await this.until(() => made.connects > 0, `${user} is connected`);
      if (await this.at.place(made.id, n)) return made;
      made.centrifuge.disconnect();
      this.clients.pop();
    }
  }
  /** A subscription that notes its events, once it is live or refused. */
  async listen(made, channel, options = {}) {
    const subscription = made.centrifuge.newSubscription(this.name(channel), options);
    const feed = { subscription, log: [], errors: 0 };
    const note = (line) => feed.log.push(line);
    subscription.on('subscribing', ({ code, reason }) => note(`subscribing ${code} ${reason}`));
    subscription.on('subscribed', (context) => note(`subscribed ${this.position(context)}`.trim()));
    subscription.on('unsubscribed', ({ code, reason }) => note(`unsubscribed ${code} ${reason}`));
    subscription.on('publication', (context) => note(`publication ${this.pub(context)}`));
    subscription.on('join', ({ info }) => note(`join ${this.who(info)}`));
    subscription.on('leave', ({ info }) => note(`leave ${this.who(info)}`));
    subscription.on('error', ({ type, error }) => note(`error ${type} ${this.error(error)}`));
    subscription.subscribe();
    await this.until(() => feed.log.some((line) => /^(un)?subscribed/.test(line)), `${made.user} is at ${channel}`);
    return feed;
  }
  lines(feed, count) { return this.until(() => feed.log.length >= count, `line ${count} came; until now ${JSON.stringify(feed.log)}`); }
  async publish(channel, first, last = first) {
    for (let n = first; n <= last; n++) await this.api('publish', { channel: this.name(channel), data: { n } });
  }
  async api(method, body) {
    const answer = await this.at.api(method, body);
    if (answer.error) throw new Error(`${method}: ${JSON.stringify(answer)}`);
    return answer.result;
  }
  /** Cuts the socket without a goodbye; back when `work` is done. */
  async away(made, work) {
    const before = made.connects;
    made.centrifuge._config.minReconnectDelay = made.centrifuge._config.maxReconnectDelay = 60000;
    const socket = made.WebSocket.last;
    if (socket.terminate) socket.terminate(); else socket.close();
    await this.until(() => made.centrifuge.state === 'connecting', 'the client noticed');
    await work();
    made.centrifuge._config.minReconnectDelay = 20;
    made.centrifuge._config.maxReconnectDelay = 200;
    made.centrifuge._clearReconnectTimeout();
    made.centrifuge._startReconnecting();
    await this.until(() => made.connects > before, 'the client is back');
  }
  end() { for (const made of this.clients) made.centrifuge.disconnect(); }
}
