// What a subscription gets, who may have one, and those that the server begins.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Centrifuge } from 'centrifuge';
import { Centrifuge as CentrifugeProtobuf } from 'centrifuge/build/protobuf';
import WebSocket from 'ws';
import { away, connect, offsets, range, subscribe } from './client.mjs';
import { Gateway, SECRET, token, until } from './gateway.mjs';
import { open, openAs } from './peer.mjs';

const HISTORY = { history_size: 100, history_ttl: '300s' };
const LIMIT = 8;
const CHANNEL = {
  without_namespace: { allow_subscribe_for_client: true },
  namespaces: [
    { name: 'chat', ...HISTORY, force_recovery: true, allow_subscribe_for_client: true, allow_subscribe_for_anonymous: true },
    { name: 'plain', ...HISTORY, allow_subscribe_for_client: true },
    { name: 'pos', ...HISTORY, force_positioning: true, allow_subscribe_for_client: true },
    { name: 'may', ...HISTORY, allow_positioning: true, allow_recovery: true, allow_subscribe_for_client: true },
    { name: 'last', ...HISTORY, force_recovery: true, force_recovery_mode: 'cache', allow_subscribe_for_client: true },
    { name: 'auto', ...HISTORY, force_recovery: true, force_recovery_mode: 'cache', auto_cache_recover: true,
      allow_subscribe_for_client: true },
    { name: 'list', allow_user_limited_channels: true },
    { name: 'shut', ...HISTORY },
    { name: 'expr', channel_regex: '^[a-z]{2,4}$', allow_subscribe_for_client: true },
    { name: 'own', ...HISTORY, force_recovery: true },
    { name: 'talk', ...HISTORY, allow_publish_for_subscriber: true },
  ],
};
const CLIENT = { token: { hmac_secret_key: SECRET }, allowed_origins: ['*'], channel_limit: LIMIT };
const now = () => Math.floor(Date.now() / 1000);

/** A gateway whose `client` options are CLIENT and these. */
async function start(t, shards, client = {}) {
  const gateway = new Gateway({ shards });
  gateway.options.config = { channel: CHANNEL, client: { ...CLIENT, ...client },
    storage: { engine: 'memory' } };
  t.after(() => gateway.end());
  return gateway.start();
}

/** The first answer to a connect command with these claims and fields. */
async function connectReply(gateway, claims, fields = {}) {
  const peer = open(gateway);
  await peer.ready;
  peer.send({ id: 1, connect: { ...(claims === null ? {} : { token: token(claims) }), ...fields } });
  await until(() => peer.closed || peer.messages.length > 0, 'connect was answered');
  return { peer, reply: peer.messages[0], closed: peer.closed };
}

async function publish(gateway, channel, first, last) {
  for (let n = first; n <= last; n++) await gateway.ask('publish', { channel, data: { n } });
}

/** An SDK client that notes what happens to its server-side subscriptions. */
async function serverSide(t, gateway, { wire = 'json', ...options }) {
  const centrifuge = new (wire === 'json' ? Centrifuge : CentrifugeProtobuf)(gateway.url, { websocket: WebSocket, minReconnectDelay: 20,
    maxReconnectDelay: 200, ...options });
  const client = { centrifuge, connects: 0, events: [], publications: [] };
  centrifuge.on('connected', () => { client.connects++; });
  for (const name of ['subscribed', 'subscribing', 'unsubscribed'])
    centrifuge.on(name, (context) => client.events.push({ name, ...context }));
  centrifuge.on('publication', (context) => client.publications.push(context));
  centrifuge.connect();
  t.after(() => centrifuge.disconnect());
  await until(() => client.connects > 0, 'connected');
  client.last = (name, channel) => client.events.findLast((event) => event.name === name && event.channel === channel);
  client.of = (channel) => client.publications.filter((publication) => publication.channel === channel);
  return client;
}

for (const shards of [1, 4])
  test(`subscriptions on ${shards} shards`, async (t) => {
    const gateway = await start(t, shards, { subscribe_to_user_personal_channel:
      { enabled: true, personal_channel_namespace: 'own' } });

    await t.test('the token\'s channels are there with the connect reply', async () => {
      await publish(gateway, 'shut:t', 1, 3);
      const { peer, reply } = await connectReply(gateway, { sub: 'tom', channels: ['shut:t', 'chat:t', 'chat:t'] });
      assert.deepEqual(Object.keys(reply.connect.subs).sort(), ['chat:t', 'own:#tom', 'shut:t']);
      assert.deepEqual(reply.connect.subs['shut:t'], {});
      assert.equal(reply.connect.subs['chat:t'].recoverable, true);
      assert.equal(reply.connect.subs['chat:t'].positioned, true);
      assert.equal(typeof reply.connect.subs['chat:t'].epoch, 'string');
      await gateway.ask('publish', { channel: 'shut:t', data: 'live' });
      await gateway.ask('publish', { channel: 'own:#tom', data: 'mine' });
      await until(() => peer.pushes('shut:t').length === 1 && peer.pushes('own:#tom').length === 1, 'both arrived');
      peer.send({ id: 2, subscribe: { channel: 'chat:t' } }, { id: 3, sub_refresh: { channel: 'no:t', token: 'x' } },
        { id: 4, unsubscribe: { channel: 'chat:t' } }, { id: 5, subscribe: { channel: 'chat:t' } });
      assert.equal((await peer.reply(2)).error.code, 105);
      assert.equal((await peer.reply(3)).error.code, 103);
      assert.deepEqual((await peer.reply(4)).unsubscribe, {});
      assert.equal((await peer.reply(5)).subscribe.recoverable, true);
      peer.send({ id: 6, sub_refresh: { channel: 'shut:t', token: 'x' } });
      await peer.end();
      assert.equal(peer.closed.code, 3501);
    });

    await t.test('the claim subs says what each gets, and wins over channels', async () => {
      const on = { value: true }, off = { value: false };
      const { reply, peer } = await connectReply(gateway, { sub: 'una', channels: ['chat:no'], subs: {
        'shut:u': { data: { a: [1] }, override: { force_recovery: on } },
        'shut:v': { override: { force_positioning: on } },
        'chat:u': { override: { force_recovery: off } } } });
      const { subs } = reply.connect;
      assert.deepEqual(Object.keys(subs).sort(), ['chat:u', 'own:#una', 'shut:u', 'shut:v']);
      assert.deepEqual([subs['shut:u'].recoverable, subs['shut:u'].positioned], [true, true]);
      assert.deepEqual(subs['shut:u'].data, { a: [1] });
      assert.deepEqual([subs['shut:v'].recoverable, subs['shut:v'].positioned], [undefined, true]);
      assert.deepEqual(subs['chat:u'], {});
      peer.socket.terminate();
    });

    await t.test('a namespace that is not there is 102 in a token and 3501 in a request', async () => {
      const bad = await connectReply(gateway, { sub: 'u', channels: ['nowhere:x'] });
      assert.equal(bad.reply.error.code, 102);
      bad.peer.send({ id: 2, subscribe: { channel: 'chat:x' } });
      await bad.peer.end();
      assert.equal(bad.peer.closed.code, 3501);
      const { peer } = await connectReply(gateway, { sub: 'u' }, { subs: { 'nowhere:x': {} } });
      await peer.end();
      assert.equal(peer.closed.code, 3501);
    });

    await t.test('the request names what it may have, and no more', async () => {
      const names = ['chat:r', 'list:x#rita,bob', 'list:x#bob', '$chat:r', 'shut:r', 'expr:abc', 'expr:a', 'caf\u00e9'];
      const { reply, peer } = await connectReply(gateway, { sub: 'rita' },
        { subs: Object.fromEntries(names.map((name) => [name, {}])) });
      assert.deepEqual(Object.keys(reply.connect.subs).sort(), ['chat:r', 'expr:abc', 'list:x#rita,bob', 'own:#rita']);
      peer.socket.terminate();
    });

    for (const extra of [-1, 0, 1])
      await t.test(`server-side subscriptions at the channel limit ${extra >= 0 ? '+' : ''}${extra}`, async () => {
        const channels = range(1, LIMIT - 1 + extra).map((n) => `chat:limit${n}`); // and the personal one
        const { reply, peer } = await connectReply(gateway, { sub: 'lim', channels });
        if (extra > 0) {
          await peer.end();
          assert.deepEqual(peer.closed, { code: 3505, reason: 'channel limit' });
          return;
        }
        assert.equal(Object.keys(reply.connect.subs).length, LIMIT + extra);
        peer.send({ id: 2, subscribe: { channel: 'chat:more' } });
        const more = await peer.reply(2);
        assert.equal(more.error?.code, extra === 0 ? 106 : undefined);
        peer.socket.terminate();
      });

    await t.test('at the limit one is left and another taken, whatever is still under way', async () => {
      const peer = await openAs(gateway, 'edge');
      const full = range(1, LIMIT - 2).map((n) => ({ id: 10 + n, subscribe: { channel: `chat:edge${n}` } }));
      const hasty = range(1, 20).flatMap((n) => [{ id: 100 + n, subscribe: { channel: `chat:hasty${n}` } },
        { id: 200 + n, unsubscribe: { channel: `chat:hasty${n}` } }]);
      peer.send(...full, ...hasty, { id: 300, subscribe: { channel: 'chat:kept' } }, { id: 301, subscribe: { channel: 'chat:more' } });
      assert.equal((await peer.reply(300)).subscribe?.recoverable, true); // the personal one counts too
      assert.equal((await peer.reply(301)).error.code, 106);
      assert.ok(peer.messages.every((message) => message.id === 301 || message.error?.code !== 106));
      peer.socket.terminate();
    });

    for (const wire of ['json', 'protobuf'])
      await t.test(`away for 30 on two server-side channels: exactly those, in order (${wire})`, async () => {
        const [one, two, user] = [`chat:${wire}1`, `chat:${wire}2`, `sue${wire}`];
        const client = await serverSide(t, gateway, { wire, token: token({ sub: user, channels: [one, two] }) });
        assert.deepEqual(client.events.map((event) => [event.name, event.channel]).sort(),
          [['subscribed', one], ['subscribed', two], ['subscribed', `own:#${user}`]]);
        await publish(gateway, one, 1, 5);
        await until(() => client.of(one).length === 5, 'live ones arrived');
        await away(client, async () => {
          await publish(gateway, one, 6, 25);
          await publish(gateway, two, 1, 10);
          await publish(gateway, `own:#${user}`, 1, 2);
        });
        await until(() => client.publications.length >= 37, 'what was missed arrived');
        assert.deepEqual(offsets(client.of(one)), range(1, 25));
        assert.deepEqual(offsets(client.of(two)), range(1, 10));
        assert.deepEqual(offsets(client.of(`own:#${user}`)), range(1, 2));
        assert.deepEqual([client.last('subscribed', one).wasRecovering, client.last('subscribed', one).recovered],
          [true, true]);
        await publish(gateway, two, 11, 12);
        await until(() => client.of(two).length === 12, 'live again');
        await away(client, () => publish(gateway, two, 13, 130));
        await until(() => client.last('subscribed', two).recovered === false, 'told as not recovered');
        await publish(gateway, two, 131, 131);
        await until(() => client.of(two).length === 13, 'live after that');
        assert.equal(client.of(two).at(-1).offset, 131);
      });

    await t.test('a channel that the next token does not name is unsubscribed', async () => {
      let channels = ['shut:w1', 'shut:w2'];
      const client = await serverSide(t, gateway, { getToken: async () => token({ sub: 'wim', channels }) });
      channels = ['shut:w2', 'shut:w3'];
      client.centrifuge.setToken('');
      await away(client, async () => {});
      await until(() => client.last('unsubscribed', 'shut:w1'), 'the SDK says so');
      assert.ok(client.last('subscribed', 'shut:w3'));
      assert.equal(client.last('unsubscribed', 'shut:w2'), undefined);
    });

    await t.test('publications while a client connects come after the reply, each once', async () => {
      let stop = false, count = 0;
      const busy = (async () => { for (; !stop; count++) await publish(gateway, 'chat:busy', count + 1, count + 1); })();
      for (let round = 0; round < 10; round++) {
        const position = { recover: true, offset: 0, epoch: '' };
        const { peer, reply } = await connectReply(gateway, { sub: 'zoe', channels: ['chat:busy'] },
          { subs: { 'chat:busy': position } });
        const first = reply.connect.subs['chat:busy'];
        assert.ok(first.recovered || count > 90);
        await until(() => peer.pushes('chat:busy').length >= 3, 'live ones came');
        const all = [...(first.recovered ? first.publications ?? [] : []), ...peer.pushes('chat:busy')];
        const start = first.recovered ? 1 : first.offset + 1;
        assert.deepEqual(offsets(all), range(start, start + all.length - 1));
        peer.socket.terminate();
      }
      stop = true;
      await busy;
    });

    await t.test('replies show what the namespace and the request say', async () => {
      const peer = await openAs(gateway, 'opt');
      const rows = [
        ['plain:o', {}, []], ['plain:o', { positioned: true, recoverable: true }, []],
        ['pos:o', {}, ['positioned']], ['chat:o', {}, ['positioned', 'recoverable']],
        ['may:o', {}, []], ['may:o', { positioned: true }, ['positioned']],
        ['may:o', { recoverable: true }, ['positioned', 'recoverable']],
        ['plain:o', { recover: true, epoch: 'x', offset: 3 }, ['was_recovering']],
        ['pos:o', { recover: true }, ['positioned', 'was_recovering']],
        ['chat:o', { recover: true }, ['positioned', 'recoverable', 'recovered', 'was_recovering']],
        ['no', {}, []],
      ];
      let id = 10;
      for (const [channel, fields, expected] of rows) {
        peer.send({ id: ++id, subscribe: { channel, ...fields } });
        const { subscribe: got } = await peer.reply(id);
        const flags = ['positioned', 'recoverable', 'recovered', 'was_recovering'].filter((flag) => got[flag]);
        assert.deepEqual(flags, expected, `${channel} ${JSON.stringify(fields)}`);
        assert.equal('epoch' in got, flags.includes('positioned'));
        peer.send({ id: ++id, unsubscribe: { channel } });
        await peer.reply(id);
      }
      peer.socket.terminate();
    });

    await t.test('each refusal of a subscription has its code', async () => {
      const peer = await openAs(gateway, 'ref');
      const sub = (claims) => token({ sub: 'ref', channel: 'shut:a', ...claims });
      const rows = [
        [{ channel: 'nowhere:x' }, 102], [{ channel: 'nowhere:caf\u00e9' }, 102], [{ channel: 'chat:caf\u00e9' }, 107],
        [{ channel: 'expr:a' }, 107], [{ channel: 'expr:abcde' }, 107], [{ channel: 'chat:x', tf: { op: '' } }, 107],
        [{ channel: 'chat:x', type: 1 }, 103], [{ channel: '$expr:a' }, 107], [{ channel: '$chat:x' }, 103],
        [{ channel: 'shut:a' }, 103], [{ channel: 'list:d#42,43' }, 103], [{ channel: 'shut:a', token: 'x' }, 103],
        [{ channel: 'shut:a', token: sub({ exp: now() - 5 }) }, 109],
        [{ channel: 'shut:a', token: token({ sub: 'ref' }) }, 103],
        [{ channel: 'chat:x', flag: 2, recover: true, epoch: 'other', offset: 1 }, 112],
        [{ channel: 'last:none', flag: 2, recover: true }, 112],
        [{ channel: 'plain:x', flag: 2, recover: true }, 112],
      ];
      let id = 10;
      for (const [fields, code] of rows) {
        peer.send({ id: ++id, subscribe: fields });
        assert.equal((await peer.reply(id)).error?.code, code, JSON.stringify(fields));
      }
      peer.send({ id: 100, subscribe: { channel: 'list:d#42,ref' } },
        { id: 101, subscribe: { channel: 'shut:a', token: sub({ data: { hi: 1 }, override: { force_recovery: { value: true } } }) } },
        { id: 102, subscribe: { channel: '$chat:p', token: sub({ channel: '$chat:p' }) } });
      assert.deepEqual((await peer.reply(100)).subscribe, {});
      const granted = (await peer.reply(101)).subscribe;
      assert.deepEqual([granted.recoverable, granted.data], [true, { hi: 1 }]);
      assert.equal((await peer.reply(102)).subscribe.recoverable, true);
      for (const claims of [{ channel: 'shut:b' }, { sub: 'else' }, { client: 'other' }]) {
        const wrong = await openAs(gateway, 'ref');
        wrong.send({ id: 2, subscribe: { channel: 'shut:a', token: sub(claims) } });
        await wrong.end();
        assert.equal(wrong.closed.code, 3500);
      }
      peer.send({ id: 103, subscribe: { channel: 'chat:y', delta: 'other' } });
      await peer.end();
      assert.equal(peer.closed.code, 3501);
    });

    await t.test('the info of a subscription is shown with what its client publishes', async () => {
      const peer = await openAs(gateway, 'inf', { claims: { info: { of: 'connection' } } });
      const grant = (info) => token({ sub: 'inf', channel: 'talk:a', info });
      peer.send({ id: 2, subscribe: { channel: 'talk:a', token: grant({ of: 1 }) } }, { id: 3, publish: { channel: 'talk:a', data: 1 } },
        { id: 4, sub_refresh: { channel: 'talk:a', token: grant({ of: 2 }) } }, { id: 5, publish: { channel: 'talk:a', data: 2 } },
        { id: 6, sub_refresh: { channel: 'talk:a', token: grant() } }, { id: 7, publish: { channel: 'talk:a', data: 3 } });
      await until(() => peer.pushes('talk:a').length === 3, 'all came');
      assert.deepEqual(peer.pushes('talk:a').map((pub) => pub.info.chan_info), [{ of: 1 }, { of: 2 }, undefined]);
      assert.deepEqual(peer.pushes('talk:a')[0].info.conn_info, { of: 'connection' });
      const { publications } = await gateway.ask('history', { channel: 'talk:a', limit: 10 });
      assert.deepEqual(publications.map((pub) => pub.info.chan_info), [{ of: 1 }, { of: 2 }, undefined]);
      peer.socket.terminate();
    });

    await t.test('a version is shown: live, missed, and where nothing is kept', async () => {
      const peer = await openAs(gateway, 'ver');
      const channels = ['chat:version', 'version'];
      peer.send({ id: 2, subscribe: { channel: channels[0] } }, { id: 3, subscribe: { channel: channels[1] } });
      await peer.reply(3);
      const versions = [7, undefined, 2 ** 50];
      for (const channel of channels)
        for (const version of versions) await gateway.ask('publish', { channel, data: 1, version });
      for (const channel of channels) {
        await until(() => peer.pushes(channel).length === 3, 'three arrived');
        assert.deepEqual(peer.pushes(channel).map((pub) => pub.version), versions);
      }
      const other = await openAs(gateway, 'ver');
      other.send({ id: 2, subscribe: { channel: channels[0], recover: true } });
      assert.deepEqual((await other.reply(2)).subscribe.publications.map((pub) => pub.version), versions);
      peer.socket.terminate();
      other.socket.terminate();
    });

    await t.test('cache recovery brings the newest one, and nothing to who has it', async () => {
      await publish(gateway, 'last:c', 1, 5);
      await publish(gateway, 'auto:c', 1, 5);
      const peer = await openAs(gateway, 'cap');
      let id = 10;
      const ask = async (channel, fields) => {
        peer.send({ id: ++id, subscribe: { channel, ...fields } });
        const { subscribe: got } = await peer.reply(id);
        peer.send({ id: ++id, unsubscribe: { channel } });
        await peer.reply(id);
        return [Boolean(got.was_recovering), Boolean(got.recovered), offsets(got.publications ?? []), got.offset ?? 0, got.epoch];
      };
      const epoch = (await ask('last:c', {})).pop();
      const rows = [
        ['last:c', {}, [false, false, [], 5]],
        ['last:c', { recover: true }, [true, true, [5], 0]],
        ['last:c', { recover: true, offset: 5, epoch }, [true, true, [], 5]],
        ['last:c', { recover: true, offset: 5, epoch: 'other' }, [true, true, [5], 5]],
        ['last:c', { recover: true, offset: 2, epoch }, [true, true, [5], 2]],
        ['last:empty', { recover: true }, [true, false, [], 0]],
        ['auto:c', {}, [true, true, [5], 0]],
        ['auto:empty', {}, [true, false, [], 0]],
      ];
      for (const [channel, fields, expected] of rows)
        assert.deepEqual((await ask(channel, fields)).slice(0, 4), expected, `${channel} ${JSON.stringify(fields)}`);
      const { reply } = await connectReply(gateway, { sub: 'cap', channels: ['auto:c'] });
      assert.deepEqual(offsets(reply.connect.subs['auto:c'].publications), [5]);
      peer.socket.terminate();
    });

    await t.test('a refresh with other channels is 3010', async () => {
      for (const [channels, code] of [[['chat:f'], null], [['chat:g'], 3010], [[], 3010], [['chat:f', 'chat:g'], 3010]]) {
        const { peer } = await connectReply(gateway, { sub: 'fay', channels: ['chat:f'], exp: now() + 60 });
        peer.send({ id: 2, refresh: { token: token({ sub: 'fay', channels, exp: now() + 90 }) } });
        if (code === null) assert.equal((await peer.reply(2)).refresh.expires, true);
        else assert.equal((await peer.end(), peer.closed.code), code);
        peer.socket.terminate();
      }
    });
  });

test('who has no user has no personal channel, and asks for what all may have', async (t) => {
  const personal = { enabled: true, personal_channel_namespace: 'own' };
  const anonymous = await start(t, 2, { allow_anonymous_connect_without_token: true,
    subscribe_to_user_personal_channel: personal });
  const subs = Object.fromEntries(['chat:a', 'plain:a', 'shut:a', 'list:#,a'].map((name) => [name, {}]));
  const one = await connectReply(anonymous, null, { subs });
  assert.deepEqual(Object.keys(one.reply.connect.subs), ['chat:a']);
  const insecure = await start(t, 2, { insecure: true, subscribe_to_user_personal_channel: personal });
  const two = await connectReply(insecure, null, { subs: { ...subs, '$chat:a': {} } });
  assert.deepEqual(Object.keys(two.reply.connect.subs).sort(), ['chat:a', 'list:#,a', 'plain:a', 'shut:a']);
  one.peer.socket.terminate();
  two.peer.socket.terminate();
  const nowhere = await start(t, 1, { subscribe_to_user_personal_channel:
    { enabled: true, personal_channel_namespace: 'nowhere' } });
  assert.equal((await connectReply(nowhere, { sub: 'u' })).reply.error.code, 102);
});

test('a subscription whose time is over ends: 2501, 3006 when its token is late', async (t) => {
  const gateway = await start(t, 2, { ping_interval: '2s', pong_timeout: '1900ms', expired_sub_close_delay: '1s' });
  const sub = (channel, claims) => token({ sub: 'exp', channel, ...claims });
  const peer = await openAs(gateway, 'exp');
  peer.send({ id: 2, subscribe: { channel: 'shut:a', token: sub('shut:a', { exp: now() + 5 }) } },
    { id: 3, subscribe: { channel: 'shut:b', token: sub('shut:b', { exp: now() + 5 }) } },
    { id: 4, subscribe: { channel: 'shut:c', token: sub('shut:c', { exp: now() + 60, expire_at: 0 }) } },
    { id: 5, subscribe: { channel: 'shut:d', token: sub('shut:d', { expire_at: now() - 5 }) } });
  const first = (await peer.reply(2)).subscribe;
  assert.equal(first.expires, true);
  assert.ok(first.ttl >= 1 && first.ttl <= 5);
  assert.equal('expires' in (await peer.reply(4)).subscribe, false);
  assert.equal((await peer.reply(5)).error.code, 110);
  peer.send({ id: 6, sub_refresh: { channel: 'shut:b', token: sub('shut:b', { exp: now() + 90 }) } });
  assert.equal((await peer.reply(6)).sub_refresh.expires, true);
  const ended = await until(() => peer.messages.find((message) => message.push?.unsubscribe), 'the first ended');
  assert.deepEqual(ended.push, { channel: 'shut:a', unsubscribe: { code: 2501, reason: 'subscription expired' } });
  peer.send({ id: 7, sub_refresh: { channel: 'shut:b', token: '' } }, { id: 8, sub_refresh: { channel: 'shut:a', token: 'x' } });
  assert.equal((await peer.reply(7)).error.code, 107);
  assert.equal((await peer.reply(8)).error.code, 103);
  for (const [late, code] of [[sub('shut:b', { exp: now() - 1 }), 3006], [sub('shut:c', {}), 3500], ['x', 3500]]) {
    const other = await openAs(gateway, 'exp');
    other.send({ id: 2, subscribe: { channel: 'shut:b', token: sub('shut:b', { exp: now() + 60 }) } },
      { id: 3, sub_refresh: { channel: 'shut:b', token: late } });
    await other.end();
    assert.equal(other.closed.code, code);
  }
  assert.equal(peer.messages.filter((message) => message.push?.unsubscribe).length, 1);
  peer.socket.terminate();

  // The SDK asks for a new token and comes back.
  const client = await connect(gateway, 'exp');
  t.after(() => client.centrifuge.disconnect());
  let tokens = 0;
  const feed = await subscribe(client, 'shut:z', { getToken: async () => { tokens++; return sub('shut:z', { exp: now() + 60 }); } });
  assert.equal(tokens, 1);
  assert.equal(feed.errors.length, 0);
});
