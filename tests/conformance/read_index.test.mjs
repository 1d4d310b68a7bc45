// The read-index service: a chat server that keeps its own messages asks who read them.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { range } from './client.mjs';
import { Gateway, KEY, until } from './gateway.mjs';
import { ReadIndex, serving } from './read_index.mjs';

const ROUTES = [...readFileSync(new URL('../../shards/reads/route.def', import.meta.url), 'utf8')
  .matchAll(/^ROUTE\(HTTP_(\w+),\s*"([^"]+)"/gm)].map(([, method, path]) => ({ method, path }));

test('read-index service', async (t) => {
  const gateway = new Gateway({ shards: 3, config: serving() });
  t.after(() => gateway.end());
  await gateway.start();
  const index = new ReadIndex(gateway);
  const posts = async (channel, sender, count, from = 1) => {
    for (let i = 0; i < count; i++) await index.ask('PUT', `/channels/${channel}/head`, { seq: from + i, sender });
  };

  await t.test('messages that are kept elsewhere have readers', async () => {
    await index.ask('PUT', '/channels/town/members', { users: ['ann', 'bob', 'cleo', 'dan'] });
    await posts('town', 'ann', 3);
    assert.deepEqual(await index.ask('POST', '/channels/town/read_cursor', { user: 'bob', offset: 2 }), { offset: 2 });
    assert.deepEqual(await index.ask('GET', '/channels/town/read_cursor?user=bob'), { offset: 2 });
    assert.deepEqual(await index.ask('POST', '/channels/town/read_cursor', { user: 'bob', offset: 1 }), { offset: 2 });
    assert.deepEqual(await index.ask('POST', '/channels/town/view', { user: 'cleo' }), { offset: 3 });
    assert.deepEqual(await index.ask('POST', '/channels/town/read_cursor', { user: 'cleo', offset: 99 }), { offset: 3 });
    assert.deepEqual(await index.ask('GET', '/channels/town/messages/2/read_count'), { count: 2, eligible: 3 });
    assert.deepEqual(await index.ask('POST', '/channels/town/read_counts', { offsets: [3, 1, 2] }),
      { counts: [1, 2, 2], eligible: [3, 3, 3] });
    const names = ({ users }) => users.map(({ user }) => user).sort();
    assert.deepEqual(names(await index.ask('GET', '/channels/town/messages/2/readers')), ['bob', 'cleo']);
    assert.deepEqual(names(await index.ask('GET', '/channels/town/messages/2/nonreaders')), ['dan']);
    const { users: [first], next } = await index.ask('GET', '/channels/town/messages/2/readers?limit=1');
    const rest = await index.ask('GET', `/channels/town/messages/2/readers?limit=1&after=${next}`);
    assert.deepEqual([first.user, rest.users[0].user].sort(), ['bob', 'cleo']);
  });

  await t.test('what is new, and who posted has read it', async () => {
    const of = async (user) => {
      const { head, read, unread, first_unread: first } = await index.ask('GET', `/channels/town/unread?user=${user}`);
      return [head, read, unread, first ?? 0];
    };
    assert.deepEqual(await of('ann'), [3, 3, 0, 0]);
    assert.deepEqual(await of('bob'), [3, 2, 1, 3]);
    assert.deepEqual(await of('dan'), [3, 0, 3, 1]);
  });

  await t.test('numbers of the chat server: milliseconds, with ties', async () => {
    const at = 1700000000000;
    await index.ask('PUT', '/channels/ms/members', { users: ['u', 'v'] });
    for (const seq of [at, at + 5, at + 5, at + 9]) await index.ask('PUT', '/channels/ms/head', { seq });
    const reads = async (seq) => (await index.ask('POST', '/channels/ms/read_cursor', { user: 'u', seq })).offset;
    assert.equal(await reads(at - 1), 0);
    assert.equal(await reads(at + 4), 1);
    assert.equal(await reads(at + 5), 3);
    assert.equal(await reads(at + 8), 3);
    assert.equal((await index.ask('GET', `/channels/ms/head?seq=${at + 5}`)).offset, 3);
    assert.equal((await index.ask('GET', '/channels/ms/head')).offset, 4);
    assert.deepEqual(await index.ask('GET', '/channels/ms/messages/3/read_count'), { count: 1, eligible: 2 }); // no sender
    assert.equal(await index.fault('PUT', '/channels/ms/head', { seq: at + 8 }), '409 SEQ_BELOW_HEAD');
    assert.equal((await index.ask('GET', '/channels/ms/head')).offset, 4);
    const first = await index.ask('PUT', '/channels/ms/head', { seq: at + 9, id: 'post-1', sender: 'v' });
    assert.deepEqual(await index.ask('PUT', '/channels/ms/head', { seq: at + 9, id: 'post-1', sender: 'v' }), first);
    assert.equal((await index.ask('GET', '/channels/ms/head')).offset, 5);
  });

  await t.test('an id is a message, whatever number its repeat has', async () => {
    const put = (seq, id) => index.ask('PUT', '/channels/ids/head', { seq, id });
    await index.ask('PUT', '/channels/ids/members', { users: ['u', 'v'] });
    const first = await put(100, 'a');
    assert.equal(first.offset, 1);
    assert.deepEqual(await put(1000000, 'a'), first);
    assert.equal((await put(101, 'b')).offset, 2); // the newest is 100 all the same
    assert.deepEqual(await put(90, 'a'), first);
    assert.equal(await index.fault('PUT', '/channels/ids/head', { seq: 90, id: 'c' }), '409 SEQ_BELOW_HEAD');
    assert.deepEqual(await Promise.all([put(200, 'd'), put(300, 'd'), put(1, 'a')]).then((all) => all.map(({ offset }) => offset)), [3, 3, 1]);
    for (const seq of [2 ** 53, '18446744073709551615'])
      assert.equal(await index.fault('PUT', '/channels/ids/head', `{"seq":${seq}}`), '400 BAD_REQUEST');
    assert.equal((await put(2 ** 53 - 1, 'e')).offset, 4);
  });

  await t.test('what is no request is refused in JSON, too', async () => {
    const large = Buffer.alloc(17 << 20, ' ');
    assert.equal(await index.fault('PUT', '/channels/ids/members', large), '413 LIMIT_SIZE');
  });

  await t.test('an id is known when its message is kept no longer', async () => {
    await index.ask('PUT', '/channels/brief%3Ax/members', { users: ['u', 'v'] });
    for (const n of range(1, 20)) await index.ask('PUT', '/channels/brief%3Ax/head', { seq: n, id: `p${n}` });
    for (const n of [1, 10, 20]) assert.equal((await index.ask('PUT', '/channels/brief%3Ax/head', { seq: n, id: `p${n}` })).offset, n);
    assert.equal((await index.ask('GET', '/channels/brief%3Ax/head')).offset, 20);
  });

  await t.test('members come, go and are brought along', async () => {
    const path = '/channels/dm%3Aa%2Fb/members';
    const list = async () => (await index.ask('GET', path)).users.map(({ user, joined, read }) => [user, joined, read]);
    await index.ask('PUT', path, { users: ['a', 'b'] });
    await posts('dm%3Aa%2Fb', 'a', 4);
    await index.ask('POST', path, { users: ['c', { user: 'd', joined: 2, read: 3 }, 'a'] });
    assert.deepEqual(await list(), [['a', 1, 4], ['b', 1, 0], ['c', 5, 4], ['d', 2, 3]]);
    await index.ask('DELETE', path, { users: ['b', 'nobody'] });
    assert.deepEqual(await list(), [['a', 1, 4], ['c', 5, 4], ['d', 2, 3]]);
    assert.deepEqual(await index.ask('GET', '/channels/dm%3Aa%2Fb/messages/1/read_count'), { count: 0, eligible: 0 });
    assert.deepEqual(await index.ask('GET', '/channels/dm%3Aa%2Fb/messages/4/read_count'), { count: 0, eligible: 1 });
    const { users, next, total } = await index.ask('GET', `${path}?limit=2`);
    assert.deepEqual([users.length, total], [2, 3]);
    const last = await index.ask('GET', `${path}?limit=2&after=${next}`);
    assert.deepEqual([last.users.length, last.next], [1, undefined]);
    assert.deepEqual((await gateway.ask('members', { channel: 'dm:a/b' })).users.length, 3);
  });

  await t.test('bad input is named, and changes nothing', async () => {
    const cursor = '/channels/town/read_cursor';
    const cases = [
      ['404 UNKNOWN_CHANNEL', 'POST', '/channels/nope:x/read_cursor', { user: 'a', offset: 1 }],
      ['404 UNKNOWN_CHANNEL', 'GET', '/channels/memberless/messages/1/read_count'],
      ['400 NOT_AVAILABLE', 'POST', '/channels/live:x/read_cursor', { user: 'a', offset: 1 }],
      ['403 NOT_MEMBER', 'POST', cursor, { user: 'zoe', offset: 1 }],
      ['403 NOT_MEMBER', 'GET', `${cursor}?user=zoe`],
      ['403 NOT_MEMBER', 'GET', '/channels/town/unread?user=zoe'],
      ['400 BAD_REQUEST', 'GET', cursor],
      ['400 BAD_REQUEST', 'GET', `${cursor}?user=%ff`],
      ['400 BAD_REQUEST', 'POST', cursor, { user: 'bob' }],
      ['400 BAD_REQUEST', 'POST', cursor, { user: 'bob', offset: 1, seq: 1 }],
      ['400 BAD_REQUEST', 'POST', cursor, { offset: 1 }],
      ['400 BAD_REQUEST', 'POST', cursor, { user: 'x'.repeat(256), offset: 1 }],
      ['400 BAD_JSON', 'POST', cursor, { user: 'bob', offset: -1 }],
      ['400 BAD_JSON', 'POST', cursor, { user: 'bob', offset: 1.5 }],
      ['400 BAD_JSON', 'POST', cursor, '{"user":"bob"'],
      ['400 BAD_UTF8', 'POST', cursor, Buffer.from('{"user":"\xff","offset":1}', 'latin1')],
      ['400 TOO_DEEP', 'POST', cursor, `{"x":${'['.repeat(80)}${']'.repeat(80)}}`],
      ['400 BAD_CHANNEL', 'GET', '/channels/%zz/head'],
      ['400 BAD_CHANNEL', 'GET', '/channels/%ff/head'],
      ['400 BAD_CHANNEL', 'GET', `/channels/${'x'.repeat(256)}/head`],
      ['400 BAD_REQUEST', 'GET', '/channels/town/messages/0/read_count'],
      ['400 BAD_REQUEST', 'GET', '/channels/town/messages/4/read_count'],
      ['400 BAD_REQUEST', 'GET', '/channels/town/messages/x/read_count'],
      ['400 BAD_REQUEST', 'GET', '/channels/town/messages/18446744073709551616/read_count'],
      ['400 BAD_REQUEST', 'POST', '/channels/town/read_counts', { offsets: [] }],
      ['413 LIMIT_SIZE', 'POST', '/channels/town/read_counts', { offsets: range(1, 1001) }],
      ['400 BAD_REQUEST', 'GET', '/channels/town/messages/1/readers?limit=0'],
      ['400 BAD_REQUEST', 'GET', '/channels/town/messages/1/readers?limit=1001'],
      ['400 BAD_REQUEST', 'GET', '/channels/town/members?after=x'],
      ['400 BAD_REQUEST', 'PUT', '/channels/town/members', {}],
      ['400 BAD_REQUEST', 'POST', '/channels/town/members', { users: ['ok', ''] }],
      ['400 BAD_REQUEST', 'PUT', '/channels/town/head', { sender: 'ann' }],
      ['400 BAD_REQUEST', 'PUT', '/channels/town/policy', { receipts: 'loud' }],
      ['400 BAD_JSON', 'PUT', '/channels/town/policy', { receipts_opt_out: 'no' }],
      ['404 UNKNOWN_CHANNEL', 'GET', '/channels/nope:x/policy'],
      ['404 NOT_FOUND', 'GET', '/channels/town'],
      ['405 NOT_FOUND', 'DELETE', '/channels/town/head'],
      ['401 UNAUTHORIZED', 'GET', '/channels/town/head', undefined, {}],
      ['401 UNAUTHORIZED', 'POST', '/channels/town/view', { user: 'dan' }, { 'X-API-Key': 'wrong' }],
    ];
    const before = await index.ask('GET', '/channels/town/members');
    for (const [expected, method, path, body, headers] of cases)
      assert.equal(await index.fault(method, path, body, headers), expected, `${method} ${path}`);
    assert.deepEqual(await index.ask('GET', '/channels/town/members'), before);
    assert.equal((await index.say('GET', '/channels/town/head', undefined, { Authorization: `apikey ${KEY}` })).status, 200);
  });

  await t.test('a policy of one channel', async () => {
    const path = '/channels/town/policy', show = () => index.ask('GET', path);
    assert.deepEqual(await show(), { receipts: 'all', receipts_opt_out: true, own: {} });
    await index.ask('PUT', path, { receipts: 'off' });
    assert.deepEqual(await show(), { receipts: 'off', receipts_opt_out: true, own: { receipts: 'off' } });
    assert.equal(await index.fault('GET', '/channels/town/messages/2/read_count'), '400 RECEIPT_DISABLED');
    await index.ask('PUT', path, { receipts: 'count', receipts_opt_out: false });
    assert.deepEqual(await show(), { receipts: 'count', receipts_opt_out: false, own: { receipts: 'count', receipts_opt_out: false } });
    // Where no messages are kept there are no receipts, whoever asks.
    assert.equal(await index.fault('PUT', '/channels/live:x/policy', { receipts: 'off' }), '400 NOT_AVAILABLE');
    for (const method of ['receipts_policy', 'receipts_policy_set'])
      assert.equal((await gateway.api(method, { channel: 'live:x' })).error.code, 108);
  });

  await t.test('a thousand counts in one call, and what left the window', async () => {
    await index.ask('PUT', '/channels/long/members', { users: ['a', 'b'] });
    for (let i = 1; i <= 1200; i += 100)
      await gateway.ask('batch', { commands: range(i, i + 99).map((n) => ({ publish: { channel: 'long', data: { seq: n } } })) });
    await index.ask('POST', '/channels/long/read_cursor', { user: 'a', seq: 700 });
    const { counts } = await index.ask('POST', '/channels/long/read_counts', { offsets: range(201, 1200) });
    assert.deepEqual([counts.length, counts[0], counts[499], counts[500], counts[999]], [1000, 1, 1, 0, 0]);
    assert.equal(await index.fault('GET', '/channels/long/messages/100/read_count'), '400 RECEIPT_TOO_OLD');
    assert.equal(await index.fault('POST', '/channels/long/read_cursor', { user: 'b', seq: 5 }), '400 RECEIPT_TOO_OLD');
  });

  await t.test('the document is valid, and tells of every route', async () => {
    const document = await (await fetch(`${index.url}/openapi.json`)).json();
    const { Validator } = await import('@seriousme/openapi-schema-validator');
    const { valid, errors } = await new Validator().validate(structuredClone(document));
    assert.ok(valid, JSON.stringify(errors));
    const told = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`));
    assert.deepEqual(told.sort(), ROUTES.map(({ method, path }) => `${method} ${path}`).sort());
  });

  await t.test('six metrics by their names', async () => {
    for (const name of ['read_index_channels_count', 'read_index_memory_mb', 'read_cursor_updates_total',
      'read_index_query_latency_ms_count', 'read_cursor_api_latency_ms_count'])
      assert.ok(await index.metric(name) > 0, name);
    assert.equal(await index.metric('read_index_events_processed'), 0);
    assert.ok(await gateway.metric('read_index_channels_count') >= 3);
  });

  await t.test('all of it is there after a restart, and after kill -9', async () => {
    const members = async () => (await index.ask('GET', '/channels/town/members')).users
      .sort((a, b) => (a.user < b.user ? -1 : 1));
    const before = await members();
    const heads = await index.ask('GET', '/channels/ms/head'), policy = await index.ask('GET', '/channels/town/policy');
    for (const end of [() => gateway.stop(), () => gateway.kill()]) {
      await end();
      await gateway.start();
      assert.deepEqual(await members(), before);
      assert.deepEqual(await index.ask('GET', '/channels/ms/head'), heads);
      assert.deepEqual(await index.ask('GET', '/channels/town/policy'), policy);
      assert.deepEqual(await index.ask('GET', '/channels/town/messages/2/read_count'), { count: 2, eligible: 3 });
      assert.equal((await index.ask('POST', '/channels/ms/read_cursor', { user: 'u', seq: 1700000000004 })).offset, 3);
    }
  });
});

test('100,000 members in one call', async (t) => {
  const gateway = new Gateway({ shards: 2, config: serving({ http_server: { address: '127.0.0.1' } }) });
  t.after(() => gateway.end());
  await gateway.start();
  const index = new ReadIndex(gateway);
  const users = range(1, 100000).map((n) => `user-${n}`);
  await index.ask('PUT', '/channels/crowd/members', { users });
  assert.equal((await index.ask('GET', '/channels/crowd/members?limit=1')).total, 100000);
  assert.equal(await index.fault('POST', '/channels/crowd/members', { users: ['one-more'] }), '400 LIMIT_MEMBERS');
  assert.equal(await index.fault('PUT', '/channels/crowd/members', { users: [...users, 'one-more'] }), '400 LIMIT_MEMBERS');
  await index.ask('DELETE', '/channels/crowd/members', { users: users.slice(0, 50000) });
  await index.ask('PUT', '/channels/crowd/head', { seq: 1, sender: 'user-99999' });
  assert.deepEqual(await index.ask('GET', '/channels/crowd/messages/1/read_count'), { count: 0, eligible: 49999 });
  let seen = 0;
  for (let after = ''; after !== undefined;) {
    const page = await index.ask('GET', `/channels/crowd/members?limit=1000${after && `&after=${after}`}`);
    seen += page.users.length;
    after = page.next;
  }
  assert.equal(seen, 50000);
  await until(async () => await index.metric('read_index_memory_mb') > 0.5, 'the memory is told');
});
