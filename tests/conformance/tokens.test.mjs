// Tokens as applications use them: every algorithm, renewal by the SDK, tokens of
// subscriptions, keys that change, and what each wrong token is answered.
import assert from 'node:assert/strict';
import test from 'node:test';
import WebSocket from 'ws';
import { Gateway, SECRET, token, until } from './gateway.mjs';
import { connect, subscribe } from './client.mjs';
import { assertSecret, makeKey, sign } from './keys.mjs';

const now = () => Math.floor(Date.now() / 1000);

/** A bare client: commands in, replies and the close out. */
async function bare(gateway, options = {}) {
  const socket = new WebSocket(gateway.url, options);
  const peer = { socket, replies: [], code: 0, id: 0 };
  socket.on('message', (bytes) => peer.replies.push(...String(bytes).split('\n').map((line) => JSON.parse(line))));
  socket.on('close', (code) => { peer.code = code; });
  socket.on('error', () => {});
  await new Promise((done) => { socket.once('open', done); socket.once('close', done); });
  peer.say = async (command) => {
    const id = ++peer.id;
    socket.send(JSON.stringify({ id, ...command }));
    return until(() => peer.replies.find((reply) => reply.id === id) ?? (peer.code !== 0 && { code: peer.code }), 'an answer');
  };
  return peer;
}

async function ask(gateway, made, options) {
  const peer = await bare(gateway, options);
  const answer = await peer.say({ connect: { token: made } });
  peer.socket.terminate();
  return answer.code ?? answer.error?.code ?? 'in';
}

/** Adds a check that runs with the others. */
const all = (t, cases) => Promise.all(Object.entries(cases).map(([name, work]) => t.test(name, { concurrency: true }, work)));

const SUBS = 'another secret for subscriptions';
const rsa = makeKey('RS256'), ec = makeKey('ES256');

async function keys(t) {
  const made = [];
  const note = (text) => { made.push(text); return text; };
  const gateway = new Gateway({ shards: 4, config: { client: {
    token: { hmac_secret_key: SECRET, rsa_public_key: rsa.pem, ecdsa_public_key: ec.pem,
      hmac_previous_secret_key: 'the secret of last month', hmac_previous_secret_key_valid_until: now() + 3600,
      audience: 'chat', issuer_regex: '^https://(a|b)\\.example$' },
    disallow_anonymous_connection_tokens: true,
    subscription_token: { enabled: true, hmac_secret_key: SUBS } } } });
  t.after(() => gateway.end());
  await gateway.start();
  const claims = { sub: 'u', aud: ['mail', 'chat'], iss: 'https://b.example' };
  const cases = [
    ['in', sign(claims, SECRET, 'HS256')], ['in', sign(claims, SECRET, 'HS384')], ['in', sign(claims, SECRET, 'HS512')],
    ['in', sign(claims, rsa, 'RS256')], ['in', sign(claims, rsa, 'RS384')], ['in', sign(claims, rsa, 'RS512')],
    ['in', sign(claims, ec)], ['in', sign(claims, 'the secret of last month', 'HS256')],
    [3500, sign(claims, 'another secret', 'HS256')], [3500, sign(claims, makeKey('RS256'))],
    [3500, sign(claims, makeKey('ES384'))], [3500, sign(claims, makeKey('EdDSA'))],
    [3500, sign(claims, rsa.pem, 'HS256')], [3500, sign(claims, ec.pem, 'HS512')],
    [3500, sign(claims, SECRET, 'HS256', { crit: ['exp'] })],
    [3500, sign(claims, SECRET, 'HS256').replace(/\.[^.]*$/, '.AAAA')],
    [3500, sign(claims, SECRET, 'HS256').replace(/^[^.]*/, Buffer.from('{"alg":"none"}').toString('base64url'))],
    [3500, sign({ ...claims, aud: 'mail' }, SECRET, 'HS256')], [3500, sign({ ...claims, aud: undefined }, SECRET, 'HS256')],
    [3500, sign({ ...claims, iss: 'https://c.example' }, SECRET, 'HS256')],
    [3500, sign({ ...claims, channel: 'chat:a' }, SECRET, 'HS256')],
    [3500, sign({ ...claims, channel: 'chat:a', exp: now() - 5 }, SECRET, 'HS256')],
    [110, sign({ ...claims, expire_at: now() - 5 }, SECRET, 'HS256')], ['in', sign({ ...claims, expire_at: 0 }, SECRET, 'HS256')],
    [3500, sign({ ...claims, sub: 7 }, SECRET, 'HS256')], [3500, sign({ ...claims, exp: 'now' }, SECRET, 'HS256')],
    [3500, sign(claims, SUBS, 'HS256')],
    [109, sign({ ...claims, exp: now() - 5 }, SECRET, 'HS256')], [109, sign({ ...claims, nbf: now() + 500 }, SECRET, 'HS256')],
    [3507, sign({ ...claims, sub: '' }, SECRET, 'HS256')], [3507, sign({ ...claims, sub: undefined }, SECRET, 'HS256')],
  ];
  await all(t, {
    'each token gets its answer': async () => {
      const answers = await Promise.all(cases.map(([, text]) => ask(gateway, note(text))));
      cases.forEach(([wanted, text], i) => assert.equal(answers[i], wanted,
        `${Buffer.from(text.split('.')[0], 'base64')} ${Buffer.from(text.split('.')[1], 'base64')}`));
    },
    'subscriptions have a secret of their own': async () => {
      const client = await connect(gateway, 'u', { token: note(sign(claims, SECRET, 'HS256')) });
      await subscribe(client, 'closed:mine', { token: note(sign({ sub: 'u', channel: 'closed:mine' }, SUBS, 'HS256')) });
      const other = client.centrifuge.newSubscription('closed:other',
        { token: note(sign({ sub: 'u', channel: 'closed:other' }, SECRET, 'HS256')) });
      const gone = new Promise((done) => { other.on('unsubscribed', done); });
      other.subscribe();
      assert.equal((await gone).code, 103);
      client.centrifuge.disconnect();
    },
  });
  assertSecret(assert, gateway.log, [...made, SECRET, SUBS, 'the secret of last month']);
  assert.equal((await gateway.stop()).code, 0);
}

async function renewal(t) {
  const made = [];
  const note = (text) => { made.push(text); return text; };
  const gateway = new Gateway({ shards: 2 });
  t.after(() => gateway.end());
  await gateway.start();
  const short = (user, seconds, more = {}) => note(token({ sub: user, exp: now() + seconds, ...more }));
  await all(t, {
    'the SDK renews a token while it is connected': async () => {
      let asked = 0;
      const client = await connect(gateway, 'renews', { token: short('renews', 2),
        getToken: async () => { asked++; return short('renews', 3600); } });
      const feed = await subscribe(client, 'chat:renews');
      await until(() => asked === 1, 'the renewal');
      await gateway.ask('publish', { channel: 'chat:renews', data: 'still here' });
      await until(() => feed.publications.length === 1, 'the publication');
      assert.equal(client.connects, 1);
      client.centrifuge.disconnect();
    },
    'an expired token is 109 and the SDK brings another': async () => {
      let asked = 0;
      const client = await connect(gateway, 'late', { token: short('late', -5),
        getToken: async () => { asked++; return short('late', 3600); } });
      assert.equal(asked, 1);
      assert.equal(client.connects, 1);
      client.centrifuge.disconnect();
    },
    'tokens of subscriptions are fetched, renewed, and end nothing': async () => {
      const client = await connect(gateway, 'member');
      let asked = 0;
      const feed = await subscribe(client, 'closed:room', { getToken: async ({ channel }) => {
        asked++;
        return short('member', asked < 2 ? 2 : 3600, { channel });
      } });
      await until(() => asked === 2, 'the renewal');
      await gateway.ask('publish', { channel: 'closed:room', data: 1 });
      await until(() => feed.publications.length === 1, 'the publication');
      assert.equal(feed.subscribed.length, 1);
      client.centrifuge.disconnect();
    },
    'an expired token of a subscription is 109 and the SDK brings another': async () => {
      const client = await connect(gateway, 'member');
      let asked = 0;
      await subscribe(client, 'closed:late', { token: short('member', -5, { channel: 'closed:late' }),
        getToken: async ({ channel }) => { asked++; return short('member', 3600, { channel }); } });
      assert.equal(asked, 1);
      client.centrifuge.disconnect();
    },
    'refresh: each wrong token has its code': async () => {
      const cases = [['', 3501], [short('r', -5), 3005], [short('other', 60), 3500], [`${short('r', 60)}x`, 3500],
        [short('r', 60, { channel: 'chat:a' }), 3500]];
      for (const [text, code] of cases) {
        const peer = await bare(gateway);
        assert.ok((await peer.say({ connect: { token: short('r', 60) } })).connect.expires);
        assert.equal((await peer.say({ refresh: { token: text } })).code, code);
      }
      const peer = await bare(gateway);
      await peer.say({ connect: { token: short('r', 60) } });
      const past = note(token({ sub: 'r', expire_at: now() - 5 }));
      assert.equal((await peer.say({ refresh: { token: past } })).error.code, 110);
      const fine = await peer.say({ refresh: { token: short('r', 600) } });
      assert.ok(fine.refresh.expires && fine.refresh.ttl > 500 && fine.refresh.ttl <= 600);
      const endless = await peer.say({ refresh: { token: note(token({ sub: 'r' })) } });
      assert.deepEqual(endless.refresh, {});
      peer.socket.terminate();
    },
    'what a new token says of its bearer is shown from then on': async () => {
      const peer = await bare(gateway);
      await peer.say({ connect: { token: short('r', 60, { info: 'old' }) } });
      await peer.say({ subscribe: { channel: 'live:info' } });
      for (const more of [{}, { info: 'new' }, {}]) {
        await peer.say({ refresh: { token: short('r', 60, more) } });
        await peer.say({ publish: { channel: 'live:info', data: 1 } });
      }
      const shown = () => peer.replies.filter((reply) => reply.push?.pub).map((reply) => reply.push.pub.info.conn_info);
      await until(() => shown().length === 3, 'all came back');
      assert.deepEqual(shown(), ['old', 'new', 'new']);
      peer.socket.terminate();
    },
    'sub_refresh: each wrong token has its code': async () => {
      const channel = 'closed:refresh';
      const cases = [[short('r', -5, { channel }), 3006], [short('other', 60, { channel }), 3500],
        [short('r', 60, { channel: 'closed:x' }), 3500], [short('r', 60), 3500], ['x', 3500],
        [short('r', 60, { channel, client: 'not this one' }), 3500],
        [short('r', 60, { channel, expire_at: now() - 5 }), 110], ['', 107]];
      for (const [text, code] of cases) {
        const peer = await bare(gateway);
        await peer.say({ connect: { token: short('r', 60) } });
        assert.equal((await peer.say({ sub_refresh: { channel, token: text } })).error.code, 103);
        const reply = await peer.say({ subscribe: { channel, token: short('r', 60, { channel }) } });
        assert.ok(reply.subscribe.expires && reply.subscribe.ttl <= 60);
        const answer = await peer.say({ sub_refresh: { channel, token: text } });
        assert.equal(answer.code ?? answer.error.code, code, text);
        if (code !== 107) continue;
        const fine = await peer.say({ sub_refresh: { channel, token: short('r', 600, { channel }) } });
        assert.ok(fine.sub_refresh.expires && fine.sub_refresh.ttl > 500);
        assert.equal((await peer.say({ sub_refresh: { channel: '', token: text } })).code, 3501);
      }
    },
  });
  assertSecret(assert, gateway.log, [...made, SECRET]);
  assert.equal((await gateway.stop()).code, 0);
}

async function proxied(t) {
  const gateway = new Gateway({ shards: 1, config: { client: { user_id_http_header: 'X-User',
    token: { hmac_secret_key: SECRET, user_id_claim: 'uid' } } } });
  t.after(() => gateway.end());
  await gateway.start();
  const as = (user, made) => ask(gateway, made, { headers: user === undefined ? {} : { 'x-user': user } });
  assert.equal(await as(undefined), 3501);
  assert.equal(await as(''), 3501);
  assert.equal(await as('alice'), 'in');
  assert.equal(await as('a'.repeat(255)), 'in');
  assert.equal(await as('alice', token({ uid: 'bob' })), 'in');
  assert.equal(await as(undefined, token({ uid: 1042, sub: 'carl' })), 'in');
  await until(() => /user="1042"/.test(gateway.log), 'a number is an id');
  assert.equal(await as('alice', 'no token'), 3500);
  await until(() => /user="alice"/.test(gateway.log) && /user="bob"/.test(gateway.log), 'the log names both');
  // What a proxy would not say is refused before the upgrade.
  const refused = (headers) => new Promise((done) => {
    new WebSocket(gateway.url, { headers }).on('unexpected-response', (_, response) => done(response.statusCode))
      .on('open', () => done('open')).on('error', () => {});
  });
  assert.equal(await refused({ 'X-User': 'a'.repeat(256) }), 400);
  assert.equal(await refused({ 'X-User': ['alice', 'mallory'] }), 400);
}

async function believing(t) {
  const gateway = new Gateway({ shards: 1, config: { client: { insecure_skip_token_signature_verify: true } } });
  t.after(() => gateway.end());
  await gateway.start();
  assert.equal(await ask(gateway, token({ sub: 'u' }, 'any secret')), 'in');
  assert.equal(await ask(gateway, token({ sub: 'u' }, '', { alg: 'none' })), 3500);
  assert.equal(await ask(gateway, token({ sub: 'u', exp: now() - 5 }, 'any secret')), 109);
}

// All at once: what takes time here is the renewal of tokens.
test('tokens', { concurrency: true }, (t) => all(t, { keys, renewal, proxied, believing }));
