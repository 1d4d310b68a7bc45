// The official JavaScript SDK, in both wires, with what its application would note.
import { Centrifuge } from 'centrifuge';
import { Centrifuge as CentrifugeProtobuf } from 'centrifuge/build/protobuf';
import WebSocket from 'ws';
import { token, until } from './gateway.mjs';

/** On the Protobuf wire data is bytes: here those of a JSON text, unless it is bytes. */
export const pack = (value) => (value instanceof Uint8Array ? value : new TextEncoder().encode(JSON.stringify(value)));
export const unpack = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

/** A Protobuf client whose application gives values and not bytes. */
function speakProtobuf(url, options) {
  const centrifuge = new CentrifugeProtobuf(url, options);
  const { publish, rpc } = centrifuge;
  centrifuge.publish = (channel, data) => publish.call(centrifuge, channel, pack(data));
  centrifuge.rpc = async (method, data) => {
    const result = await rpc.call(centrifuge, method, pack(data));
    return { ...result, data: unpack(result.data) };
  };
  return centrifuge;
}

/** Connects as `user`; `wire` apart, options are the SDK's. */
export async function connect(gateway, user, { wire = 'json', ...more } = {}) {
  const options = {
    websocket: WebSocket, token: token({ sub: user }), minReconnectDelay: 20, maxReconnectDelay: 200,
    timeout: 30000, ...more };
  const centrifuge = wire === 'protobuf' ? speakProtobuf(gateway.url, options) : new Centrifuge(gateway.url, options);
  const client = { centrifuge, id: null, user, wire, errors: [], connects: 0, disconnects: [] };
  centrifuge.on('connected', (context) => { client.id = context.client; client.connects++; });
  centrifuge.on('connecting', (context) => client.disconnects.push(context));
  centrifuge.on('error', (context) => client.errors.push(context));
  centrifuge.connect();
  await centrifuge.ready(60000);
  return client;
}

/** Subscribes and notes publications and every (re)subscription.  `raw`: data stays bytes. */
export async function subscribe(client, channel, { raw = client.wire === 'json', ...options } = {}) {
  const subscription = client.centrifuge.newSubscription(channel, options);
  const feed = { subscription, publications: [], subscribed: [], errors: [] };
  subscription.on('publication', (context) =>
    feed.publications.push(raw ? context : { ...context, data: unpack(context.data) }));
  subscription.on('subscribed', (context) => feed.subscribed.push(context));
  subscription.on('error', (context) => feed.errors.push(context));
  subscription.subscribe();
  await until(() => feed.subscribed.length > 0, `${client.user} is subscribed to ${channel}`);
  return feed;
}

/** Cuts the socket under the SDK without a goodbye; it stays away until `back`. */
export async function away(client, work) {
  const { centrifuge } = client;
  const before = client.connects;
  const delay = centrifuge._config.minReconnectDelay;
  centrifuge._config.minReconnectDelay = centrifuge._config.maxReconnectDelay = 60000;
  centrifuge._transport._transport.terminate();
  await until(() => centrifuge.state === 'connecting', 'the client noticed');
  await work();
  centrifuge._config.minReconnectDelay = delay;
  centrifuge._config.maxReconnectDelay = 200;
  // The application's way to end a long back-off: connect() anew keeps positions.
  centrifuge._clearReconnectTimeout?.();
  centrifuge._startReconnecting();
  await until(() => client.connects > before, 'the client is back');
}

/** Connects clients until one lands on another shard than `first`. */
export async function connectElsewhere(gateway, first, user, options = {}) {
  const at = shardOf(gateway, first);
  for (let tries = 0; tries < 64; tries++) {
    const other = await connect(gateway, user, options);
    await until(() => shardOf(gateway, other) !== null, 'the log names the shard');
    if (shardOf(gateway, other) !== at) return other;
    other.centrifuge.disconnect();
  }
  throw new Error('64 connections all came to one shard');
}

/** The shard that the debug log names for a client. */
export function shardOf(gateway, client) {
  const found = new RegExp(`client connected client=${client.id} .*shard=(\\d+)`).exec(gateway.log);
  return found === null ? null : Number(found[1]);
}

/** Offsets first..last without a gap, in order, each once. */
export function offsets(publications) {
  return publications.map((publication) => publication.offset);
}
export const range = (first, last) => Array.from({ length: last - first + 1 }, (_, i) => first + i);
