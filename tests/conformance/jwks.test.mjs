// Keys that come as a JWK set from a server: one fetch for everybody, rotation while
// clients are there, a server that is slow, broken or away.
import assert from 'node:assert/strict';
import test from 'node:test';
import WebSocket from 'ws';
import { Gateway, sleep, until } from './gateway.mjs';
import { connect, range } from './client.mjs';
import { assertSecret, KeyServer, makeKey, sign } from './keys.mjs';

/** Connects without an SDK; resolves with the reply or the close. */
function knock(gateway, token) {
  return new Promise((done) => {
    const socket = new WebSocket(gateway.url);
    socket.on('open', () => socket.send(JSON.stringify({ id: 1, connect: { token } })));
    socket.on('message', (bytes) => { done({ ...JSON.parse(bytes), socket }); });
    socket.on('close', (code) => done({ code }));
    socket.on('error', () => {});
  });
}

/** Knocks as an SDK does, who comes again after a temporary error: a set that this busy
 *  process did not serve within a second was not there. */
async function enter(gateway, token) {
  for (;;) {
    const reply = await knock(gateway, token);
    if (!reply.error?.temporary) return reply;
    reply.socket.terminate();
    await sleep(100);
  }
}

// Made before anything runs: RSA keys take their time.
const STRANGER = makeKey('RS256', 'k-RS256'), BROKEN = makeKey('RS256', 'k');
const KEYS = ['RS256', 'ES256', 'ES384', 'ES512', 'EdDSA'].map((alg) => makeKey(alg, `k-${alg}`));

const configOf = (url, more = {}) => ({ client: { token: { jwks_public_endpoint: url }, ...more } });

const serving = (all) => [1, 4].map((shards) =>
  all.test(`on ${shards} shards`, async (t) => {
    const keys = KEYS;
    const server = await new KeyServer(...keys).start();
    server.delay = 100;
    const gateway = new Gateway({ shards, config: configOf(server.url) });
    t.after(async () => { await server.stop(); await gateway.end(); });
    await gateway.start();
    // A try that the server does not answer within a second is given up for another.
    let began = Date.now();
    const fetched = (most) => {
      most += Math.floor((Date.now() - began) / 1000);
      assert.ok(server.count <= most, `${server.count} fetches, not ${most}`);
    };
    const tokens = [];
    const make = (claims, key, ...more) => { const made = sign(claims, key, ...more); tokens.push(made); return made; };
    const sockets = [];

    await t.test('200 connect at once: one fetch', async () => {
      const made = range(0, 199).map((i) => make({ sub: `u${i}` }, keys[i % keys.length]));
      began = Date.now();
      const replies = await Promise.all(made.map((one) => enter(gateway, one)));
      for (const reply of replies) { assert.ok(reply.connect, JSON.stringify(reply.error ?? reply.code)); sockets.push(reply.socket); }
      fetched(1);
    });

    await t.test('tokens that no key of the set signed are 3500', async () => {
      for (const bad of [make({ sub: 'x' }, STRANGER), make({ sub: 'x' }, keys[0], 'RS384'),
        make({ sub: 'x' }, 'secret', 'HS256', { kid: 'k-RS256' }),
        make({ sub: 'x' }, keys[0].pem, 'HS256', { kid: 'k-RS256' }),
        make({ sub: 'x' }, { ...keys[0], kid: undefined })])
        assert.equal((await knock(gateway, bad)).code, 3500);
      fetched(1);
    });

    await t.test('a name that nobody knows: asked for once, then 3500 for all', async () => {
      const replies = await Promise.all(Array.from({ length: 20 }, (_, i) =>
        enter(gateway, make({ sub: `s${i}` }, { ...keys[0], kid: 'nobody' }))));
      for (const reply of replies) assert.equal(reply.code, 3500);
      // One more for names that were first met after the first of them began.
      fetched(3);
    });

    await t.test('a key that comes while clients are there', async () => {
      const fresh = makeKey('ES256', 'fresh');
      server.keys = [...server.keys, fresh];
      const client = await connect(gateway, 'rotated', { token: make({ sub: 'rotated' }, fresh) });
      const old = await knock(gateway, make({ sub: 'old' }, keys[1]));
      assert.ok(old.connect);
      sockets.push(old.socket);
      client.centrifuge.disconnect();
      assert.ok(sockets.every((socket) => socket.readyState === WebSocket.OPEN));
    });

    for (const socket of sockets) socket.terminate();
    await t.test('nothing of a token stands in the log', () => assertSecret(assert, gateway.log, tokens));
    assert.equal((await gateway.stop()).code, 0);
  }));

const notServing = async (t) => {
  const key = BROKEN;
  const failing = (mode, work) => t.test(mode, async () => {
    const server = await new KeyServer(key).start();
    server.mode = mode;
    const { url, port } = server;
    if (mode === 'away') await server.stop();
    const gateway = new Gateway({ shards: 2, config: configOf(url) });
    try {
      await gateway.start();
      const refused = await knock(gateway, sign({ sub: 'u' }, key));
      assert.equal(refused.error?.code, 100, JSON.stringify(refused.code));
      assert.equal(refused.error.temporary, true);
      refused.socket.terminate();
      // The SDK keeps trying and gets in once the server is well.
      const client = connect(gateway, 'u', { token: sign({ sub: 'u' }, key) });
      await sleep(50);
      server.mode = 'ok';
      if (mode === 'away') await server.start(port);
      (await client).centrifuge.disconnect();
      assert.match(gateway.log, /key set cannot be fetched/);
      assert.ok(!gateway.log.includes(url), 'the address may be secret');
      assert.equal((await gateway.stop()).code, 0);
    } finally {
      await server.stop();
      await gateway.end();
    }
  });
  await Promise.all(['slow', 'garbage', 'error', 'huge', 'away'].map((mode) => failing(mode)));
};

const ofSubscriptions = async (t) => {
  const key = makeKey('ES256', 'k'), other = makeKey('EdDSA', 'k');
  const server = await new KeyServer(key).start(), subs = await new KeyServer(other).start();
  server.mode = 'redirect';
  server.target = '/elsewhere';
  subs.mode = 'redirect';
  subs.target = 'file:///etc/hostname';
  const gateway = new Gateway({ shards: 4, config: configOf(server.url,
    { subscription_token: { enabled: true, jwks_public_endpoint: subs.url } }) });
  t.after(async () => { await server.stop(); await subs.stop(); await gateway.end(); });
  await gateway.start();
  const client = await connect(gateway, 'u', { token: sign({ sub: 'u' }, key) });

  // A redirect that leaves HTTP is not followed: temporary, until the server is well.
  const channel = 'closed:a', claims = { sub: 'u', channel };
  const feed = { subscribed: 0, errors: [] };
  const subscription = client.centrifuge.newSubscription(channel, { token: sign(claims, other), minResubscribeDelay: 20, maxResubscribeDelay: 200 });
  subscription.on('subscribed', () => { feed.subscribed++; });
  subscription.on('error', (context) => feed.errors.push(context.error));
  subscription.subscribe();
  await until(() => feed.errors.length > 0, 'the first try failed');
  assert.equal(feed.errors[0].code, 100);
  subs.mode = 'ok';
  await until(() => feed.subscribed > 0, 'the subscription is there');
  // The key of connections is none of subscriptions, under the same name.
  const foreign = client.centrifuge.newSubscription('closed:b', { token: sign({ sub: 'u', channel: 'closed:b' }, key) });
  const gone = new Promise((done) => { foreign.on('unsubscribed', done); });
  foreign.subscribe();
  assert.equal((await gone).code, 103);
  client.centrifuge.disconnect();
};

const elsewhere = async (t) => {
  const key = makeKey('ES256', 'k'), other = makeKey('ES256', 'k');
  const server = await new KeyServer(key).start(), second = await new KeyServer(other).start();
  const gateway = new Gateway({ shards: 4, config: configOf(server.url) });
  t.after(async () => { await server.stop(); await second.stop(); await gateway.end(); });
  await gateway.start();
  const twelve = async (by) => Promise.all(Array.from({ length: 12 }, async () => {
    const reply = await enter(gateway, sign({ sub: 'u' }, by));
    reply.socket?.terminate();
    return reply.connect ? 'in' : reply.code;
  }));
  assert.deepEqual(new Set(await twelve(key)), new Set(['in']));
  assert.deepEqual(new Set(await twelve(other)), new Set([3500]));
  gateway.options.config = configOf(second.url);
  await gateway.reload();
  assert.deepEqual(new Set(await twelve(other)), new Set(['in']));
  assert.deepEqual(new Set(await twelve(key)), new Set([3500]));
  // The same address again: what was fetched serves on.
  const { count } = second;
  await gateway.reload();
  assert.deepEqual(new Set(await twelve(other)), new Set(['in']));
  assert.equal(second.count, count);
  assert.equal((await gateway.stop()).code, 0);
};

// All at once: what takes time here is pauses between fetches.
test('key sets', { concurrency: true }, (t) => Promise.all([...serving(t),
  t.test('a server that does not serve', { concurrency: true }, notServing),
  t.test('a reload names another server', elsewhere),
  t.test('redirects, sets of their own for subscriptions', ofSubscriptions)]));
