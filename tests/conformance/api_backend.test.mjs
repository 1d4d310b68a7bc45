// The server API as a backend that comes from Centrifugo uses it: every field, every
// wrong one, large calls, and requests one behind another.
import assert from 'node:assert/strict';
import test from 'node:test';
import { range } from './client.mjs';
import { Gateway, KEY, SECRET, until } from './gateway.mjs';
import { openAs, talk } from './peer.mjs';

const config = {
  client: { token: { hmac_secret_key: SECRET }, subscribe_to_user_personal_channel: { enabled: true } },
  channel: { namespaces: [
    { name: 'chat', history_size: 100, history_ttl: '300s', force_recovery: true, presence: true, allow_subscribe_for_client: true },
    { name: 'live', allow_subscribe_for_client: true },
    { name: 'object', publication_data_format: 'json_object' },
    { name: 'bytes', publication_data_format: 'binary' },
    { name: 'narrow', channel_regex: '^[0-9]+$' },
  ] },
};

/** A call with a body as it stands; the status, and the answer when it is JSON. */
async function raw(gateway, method, body, headers = {}) {
  const answer = await fetch(`${gateway.http}/api/${method}`, { method: 'POST', headers: { 'X-API-Key': KEY, ...headers }, body });
  const text = await answer.text();
  const isJson = answer.headers.get('content-type') === 'application/json';
  return { status: answer.status, text, body: isJson ? JSON.parse(text) : null };
}

for (const [shards, engine] of [[1, 'memory'], [4, 'embedded']])
  test(`a backend, ${shards} shards, ${engine}`, async (t) => {
    const gateway = new Gateway({ shards });
    gateway.options.config = { ...config, storage: { engine, path: `${gateway.dir}/data` } };
    t.after(() => gateway.end());
    await gateway.start();

    await t.test('fields that are null are fields that are absent', async () => {
      const nothing = { b64data: null, skip_history: null, tags: null, idempotency_key: null, delta: null, version: null, version_epoch: null };
      assert.equal((await gateway.ask('publish', { channel: 'chat:null', data: 1, ...nothing })).offset, 1);
      assert.equal((await gateway.ask('broadcast', { channels: ['chat:null'], data: 1, ...nothing })).responses[0].result.offset, 2);
      assert.equal((await gateway.ask('history', { channel: 'chat:null', limit: -1, since: null, reverse: null })).offset, 2);
      const user = { user: 'nobody', client: null, session: null };
      assert.deepEqual(await gateway.ask('subscribe', { ...user, channel: 'chat:x', expire_at: null, info: null, b64info: null,
        data: null, b64data: null, recover_since: null, override: null }), {});
      assert.deepEqual(await gateway.ask('unsubscribe', { ...user, channel: null }), {});
      assert.deepEqual(await gateway.ask('disconnect', { ...user, disconnect: null, whitelist: null }), {});
      assert.deepEqual(await gateway.ask('refresh', { ...user, expired: null, expire_at: null, info: null }), {});
      assert.deepEqual(await gateway.ask('channels', { pattern: null }), { channels: {} });
      assert.deepEqual(await gateway.api('batch', { commands: null, parallel: null }), { replies: [] });
    });

    await t.test('fields of newer servers are passed over', async () => {
      assert.equal((await gateway.ask('publish', { channel: 'chat:new', data: 1, all_users: true, x: { y: [null] } })).offset, 1);
    });

    await t.test('what a namespace wants of data', async () => {
      const code = async (body) => (await gateway.api('publish', body)).error?.code;
      assert.equal(await code({ channel: 'object:1', data: [1] }), 107);
      assert.equal(await code({ channel: 'object:1', data: { a: 1 } }), undefined);
      assert.equal(await code({ channel: 'bytes:1' }), undefined);
      assert.equal(await code({ channel: 'chat:1', b64data: '' }), 107);
      assert.equal(await code({ channel: 'chat:1', b64data: 'e30' }), 107, 'standard base64 is padded');
      assert.equal(await code({ channel: 'chat:b64', data: 1, b64data: 'eyJhIjoxfQ==' }), undefined);
      const { publications } = await gateway.ask('history', { channel: 'chat:b64', limit: 1 });
      assert.deepEqual(publications[0].data, { a: 1 }, 'b64data wins');
    });

    await t.test('a value of a wrong type is a bad request, of every method', async () => {
      for (const [method, body] of [
        ['publish', '{"channel":7,"data":1}'], ['publish', '{"channel":"chat:x","data":1,"version":-1}'],
        ['publish', '{"channel":"chat:x","data":1,"version":18446744073709551616}'],
        ['publish', '{"channel":"chat:x","data":1,"skip_history":"true"}'],
        ['publish', '{"channel":"chat:x","data":1,"idempotency_key":1}'],
        ['broadcast', '{"channels":"chat:x","data":1}'], ['broadcast', '{"channels":[1],"data":1}'],
        ['history', '{"channel":"chat:x","limit":1.5}'], ['history', '{"channel":"chat:x","since":1}'],
        ['subscribe', '{"user":1,"channel":"chat:x"}'], ['subscribe', '{"user":"u","channel":"chat:x","override":[]}'],
        ['disconnect', '{"user":"u","disconnect":7}'], ['disconnect', '{"user":"u","whitelist":"x"}'],
        ['refresh', '{"user":"u","expire_at":"soon"}'], ['presence', '{"channel":[]}'], ['channels', '{"pattern":1}'],
        ['rpc', '{"method":1}'], ['batch', '{"commands":{}}'], ['info', '[]'], ['publish', 'null'], ['publish', ''],
        ['publish', '{"channel":"chat:x","data":1} x'], ['publish', '\ufeff{"channel":"chat:x","data":1}'],
        ['publish', `{"channel":"chat:x","data":${'['.repeat(99)}${']'.repeat(99)}}`],
      ]) {
        const refused = await raw(gateway, method, body);
        assert.equal(refused.status, 400, `${method} ${body}`);
        assert.notEqual(refused.text, '');
      }
      assert.match((await raw(gateway, 'publish', '{"channel":7}')).text, /another type/);
    });

    await t.test('a path that leads nowhere is 404; an rpc that nobody serves is an answer', async () => {
      assert.deepEqual((await raw(gateway, 'telepathy', '{}')), { status: 404,
        text: '{"error":{"code":104,"message":"not found"}}', body: { error: { code: 104, message: 'not found' } } });
      const rpc = await raw(gateway, 'rpc', '{"method":"x","params":{}}');
      assert.equal(rpc.status, 200);
      assert.deepEqual(rpc.body, { error: { code: 104, message: 'not found' } });
      assert.equal((await raw(gateway, 'rpc', '{"method":"x"}', { 'X-Centrifugo-Error-Mode': 'transport' })).status, 404);
    });

    await t.test('a backend may name any channel of a namespace', async () => {
      const anna = await openAs(gateway, 'áňňa'); // with the personal channel #áňňa
      t.after(() => anna.socket.close());
      await gateway.ask('publish', { channel: '#áňňa', data: 'personal' });
      await gateway.ask('subscribe', { user: 'áňňa', channel: 'chat:über' });
      await gateway.ask('subscribe', { user: 'áňňa', channel: 'narrow:abc' });
      await until(() => anna.messages.filter((message) => message.push?.subscribe).length === 2, 'both are pushed');
      await gateway.ask('publish', { channel: 'chat:über', data: 'wide' });
      await until(() => anna.pushes('chat:über').length === 1 && anna.pushes('#áňňa').length === 1, 'all arrived');
      assert.equal(Object.values((await gateway.ask('presence', { channel: 'chat:über' })).presence)[0].user, 'áňňa');
      assert.equal((await gateway.ask('history', { channel: 'chat:über', limit: -1 })).publications.length, 1);
      assert.deepEqual((await gateway.ask('channels', { pattern: 'chat:ü*' })).channels, { 'chat:über': { num_clients: 1 } });
      assert.deepEqual(await gateway.ask('unsubscribe', { user: 'áňňa', channel: 'chat:über' }), {});
      await until(() => anna.messages.some((message) => message.push?.unsubscribe), 'it ended');
      const code = async (channel) => (await gateway.api('publish', { channel, data: 1 })).error?.code;
      assert.equal(await code(`chat:${'x'.repeat(250)}`), undefined);
      assert.equal(await code(`chat:${'x'.repeat(251)}`), 107);
    });

    await t.test('the empty user is every anonymous client', async () => {
      const named = await openAs(gateway, 'bob');
      const peers = await Promise.all(range(1, 9).map(() => openAs(gateway, '')));
      for (const peer of peers) peer.id = (await peer.reply(1)).connect.client;
      await gateway.ask('subscribe', { user: '', channel: 'live:all', data: { why: 'all' } });
      await gateway.ask('subscribe', { user: '', channel: 'live:one', client: peers[0].id });
      await gateway.ask('publish', { channel: 'live:all', data: 1 });
      await until(() => peers.every((peer) => peer.pushes('live:all').length === 1), 'all hear it');
      assert.deepEqual((await gateway.ask('channels', { pattern: 'live:*' })).channels,
        { 'live:all': { num_clients: 9 }, 'live:one': { num_clients: 1 } });
      await gateway.ask('unsubscribe', { user: '' });
      await until(() => peers.every((peer) => peer.messages.some((message) => message.push?.unsubscribe)), 'all are told');
      await gateway.ask('refresh', { user: '', client: peers[1].id, expired: true });
      assert.equal((await peers[1].end()).code, 3005);
      await gateway.ask('disconnect', { user: '', whitelist: [peers[0].id], disconnect: { code: 4400, reason: 'out' } });
      for (const peer of peers.slice(2)) assert.deepEqual(await peer.end(), { code: 4400, reason: 'out' });
      assert.deepEqual([peers[0].closed, named.closed], [null, null]);
      await gateway.ask('disconnect', { user: '' });
      assert.equal((await peers[0].end()).code, 3503);
      assert.equal(named.closed, null);
      named.socket.close();
      for (const method of ['disconnect', 'subscribe', 'unsubscribe', 'refresh'])
        assert.equal((await gateway.api(method, { channel: 'live:x' })).error.code, 107, 'a user is to be named');
    });

    await t.test('a subscription whose end has come already does not begin', async () => {
      const peer = await openAs(gateway, 'eve');
      const now = Math.floor(Date.now() / 1000);
      await gateway.ask('subscribe', { user: 'eve', channel: 'live:over', expire_at: now - 1 });
      await gateway.ask('subscribe', { user: 'eve', channel: 'live:late', expire_at: now + 3600 });
      await until(() => peer.messages.some((message) => message.push?.subscribe), 'one is pushed');
      assert.deepEqual((await gateway.ask('channels', { pattern: 'live:*' })).channels, { 'live:late': { num_clients: 1 } });
      peer.socket.close();
    });

    await t.test('10,000 channels in one broadcast, each answered in its place', async () => {
      const channels = range(1, 10000).map((n) => (n % 1000 === 0 ? 'nowhere:x' : `chat:wide-${n}`));
      const call = { channels, data: { text: 'to all "of" you' }, tags: { a: 'b' }, idempotency_key: 'wide', version: 3, version_epoch: 'e' };
      const { responses } = await gateway.ask('broadcast', call);
      assert.equal(responses.length, 10000);
      responses.forEach(({ error, result }, i) =>
        ((i + 1) % 1000 === 0 ? assert.equal(error.code, 102) : assert.equal(result.offset, 1)));
      const last = await gateway.ask('history', { channel: 'chat:wide-9999', limit: -1 });
      assert.deepEqual(last.publications, [{ data: call.data, offset: 1, tags: call.tags }]);
      const again = await gateway.api('batch', { parallel: true, commands: [{ broadcast: call }, { info: {} }] });
      assert.deepEqual(again.replies[0].broadcast.responses, responses, 'a repeat publishes nothing');
      assert.deepEqual(await gateway.api('broadcast', { channels: Array(100001).fill('x'), data: 1 }),
        { error: { code: 106, message: 'too many channels in one broadcast' } });
      assert.deepEqual((await gateway.api('broadcast', { channels: [], data: 1 })).error.code, 107);
    });

    await t.test('requests one behind another are answered in order', async () => {
      const request = (method, body) => `POST /api/${method} HTTP/1.1\r\nHost: x\r\nX-API-Key: ${KEY}\r\n`
        + `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
      const many = range(1, 500).map((n) => request('publish', JSON.stringify({ channel: 'chat:pipe', data: n })));
      const { text } = await talk(gateway, [many.join(''), request('telepathy', '{}'), request('publish', '{'), request('info', '')],
        { until: (sofar) => sofar.includes('"nodes"') });
      assert.deepEqual([...text.matchAll(/"offset":(\d+)/g)].map((m) => Number(m[1])), range(1, 100).concat(range(101, 500)));
      assert.deepEqual([...text.matchAll(/HTTP\/1.1 (\d+)/g)].map((m) => Number(m[1])), [...Array(500).fill(200), 404, 400, 200]);
    });
  });
