// The server API, receipts, health and metrics as a backend sees them.
import assert from 'node:assert/strict';
import test from 'node:test';
import { connect, offsets, range } from './client.mjs';
import { BINARY, Gateway, KEY, until } from './gateway.mjs';

test('server API', async (t) => {
  const gateway = new Gateway({ shards: 3 });
  t.after(() => gateway.end());
  await gateway.start();

  await t.test('the key opens, three ways; without it 401 and nothing said', async () => {
    const call = (path, headers) => fetch(`${gateway.http}/api/${path}`, { method: 'POST', headers, body: '{}' });
    assert.equal((await call('info', { 'X-API-Key': KEY })).status, 200);
    assert.equal((await call('info', { Authorization: `apikey ${KEY}` })).status, 200);
    assert.equal((await call(`info?api_key=${KEY}`, {})).status, 200);
    for (const headers of [{}, { 'X-API-Key': 'wrong' }, { Authorization: `Bearer ${KEY}` }]) {
      const refused = await call('info', headers);
      assert.equal(refused.status, 401);
      assert.equal(await refused.text(), '');
    }
    assert.equal((await fetch(`${gateway.http}/api/info`, { headers: { 'X-API-Key': KEY } })).status, 405);
  });

  await t.test('a repeat with the same key gets the first offset and publishes nothing', async () => {
    const first = await gateway.ask('publish', { channel: 'chat:keys', data: 1, idempotency_key: 'a' });
    const again = await gateway.ask('publish', { channel: 'chat:keys', data: 2, idempotency_key: 'a' });
    const other = await gateway.ask('publish', { channel: 'chat:keys', data: 3, idempotency_key: 'b' });
    assert.deepEqual(again, first);
    assert.equal(other.offset, first.offset + 1);
    const many = await Promise.all(range(1, 50).map(() =>
      gateway.ask('publish', { channel: 'chat:keys', data: 4, idempotency_key: 'c' })));
    assert.equal(new Set(many.map((result) => result.offset)).size, 1);
    assert.equal((await gateway.ask('history', { channel: 'chat:keys', limit: 0 })).offset, 3);
  });

  await t.test('payloads pass through byte for byte', async () => {
    const data = { big: 12345678901234567890n.toString(), text: 'ü\u2028"\\', nested: [[{}], null, 1e-7] };
    await gateway.ask('publish', { channel: 'chat:bytes', data });
    const { publications } = await gateway.ask('history', { channel: 'chat:bytes', limit: -1 });
    assert.deepEqual(publications[0].data, data);
    const raw = await fetch(`${gateway.http}/api/publish`, { method: 'POST', headers: { 'X-API-Key': KEY },
      body: '{"channel":"chat:bytes","data":{"n":123456789012345678901234567890,"z":1.10}}' });
    assert.equal(raw.status, 200);
    const history = await fetch(`${gateway.http}/api/history`, { method: 'POST', headers: { 'X-API-Key': KEY },
      body: '{"channel":"chat:bytes","limit":-1}' });
    assert.match(await history.text(), /\{"n":123456789012345678901234567890,"z":1.10\}/);
  });

  await t.test('history -1 returns everything, also what left the memory window', async () => {
    const small = new Gateway({ shards: 2 });
    small.options.config = { storage: { engine: 'embedded', path: `${small.dir}/data`, window_size: 16 } };
    t.after(() => small.end());
    await small.start();
    for (let i = 1; i <= 300; i += 50)
      await Promise.all(range(i, i + 49).map((n) => small.ask('publish', { channel: 'chat:long', data: n })));
    const all = await small.ask('history', { channel: 'chat:long', limit: -1 });
    assert.deepEqual(offsets(all.publications), range(1, 300));
    assert.deepEqual(new Set(all.publications.map((p) => p.data)).size, 300);
    const page = await small.ask('history', { channel: 'chat:long', limit: 5, since: { offset: 100, epoch: all.epoch } });
    assert.deepEqual(offsets(page.publications), range(101, 105));
    const back = await small.ask('history', { channel: 'chat:long', limit: 5, reverse: true });
    assert.deepEqual(offsets(back.publications), [300, 299, 298, 297, 296]);
    const lost = await small.api('history', { channel: 'chat:long', limit: 5, since: { offset: 1, epoch: 'elsewhere' } });
    assert.equal(lost.error.code, 112);
  });

  await t.test('errors are results with Centrifugo\'s numbers', async () => {
    const code = async (method, body) => (await gateway.api(method, body)).error?.code;
    assert.equal(await code('publish', { channel: '', data: 1 }), 107);
    assert.equal(await code('publish', { channel: 'chat:x' }), 107);
    assert.equal(await code('publish', { channel: 'nowhere:x', data: 1 }), 102);
    assert.equal(await code('history', { channel: 'live:x', limit: 1 }), 108);
    const transport = await fetch(`${gateway.http}/api/publish`, { method: 'POST',
      headers: { 'X-API-Key': KEY, 'X-Centrifugo-Error-Mode': 'transport' }, body: '{"channel":"nowhere:x","data":1}' });
    assert.equal(transport.status, 404);
    assert.equal(await code('publish', { channel: 'chat:x', data: 1, tags: { a: 1 } }), 107);
    const broken = await fetch(`${gateway.http}/api/publish`, { method: 'POST', headers: { 'X-API-Key': KEY }, body: '{"channel":' });
    assert.equal(broken.status, 400);
  });

  await t.test('a version that is not newer is not published, also after a restart', async () => {
    const publish = (version, more = {}) => gateway.ask('publish', { channel: 'chat:score', data: version, version, ...more });
    assert.equal((await publish(3)).offset, 1);
    assert.equal((await publish(3)).offset, 1);
    assert.equal((await publish(2)).offset, 1);
    assert.equal((await publish(5)).offset, 2);
    assert.equal((await gateway.ask('publish', { channel: 'chat:score', data: 'plain' })).offset, 3);
    assert.equal((await publish(4)).offset, 3); // suppressed: the position of now
    assert.equal((await publish(1, { version_epoch: 'second' })).offset, 4);
    assert.equal((await publish(1, { version_epoch: 'second' })).offset, 4);
    await gateway.kill();
    await gateway.start({ shards: 2 });
    assert.equal((await publish(1, { version_epoch: 'second' })).offset, 4);
    assert.equal((await publish(1)).offset, 4); // without an epoch: of any
    assert.equal((await publish(2, { version_epoch: 'second' })).offset, 5);
    const { publications } = await gateway.ask('history', { channel: 'chat:score', limit: -1 });
    assert.deepEqual(publications.map((p) => p.data), [3, 5, 'plain', 1, 2]);
    // Copies at once: one is published, the others are answered or asked to come again.
    const many = await Promise.all(range(1, 20).map(() =>
      gateway.api('publish', { channel: 'chat:score', data: 'x', version: 9, version_epoch: 'second' })));
    for (const { result, error } of many) assert.ok(error ? error.code === 113 : result.offset === 6);
    const all = await gateway.ask('broadcast', { channels: ['chat:score', 'chat:score-2'], data: 'y', version: 9 });
    assert.deepEqual(all.responses.map((response) => response.result.offset), [6, 1]);
    // Where nothing is kept there is nothing to be older than.
    assert.deepEqual(await gateway.ask('publish', { channel: 'live:score', data: 1, version: 1 }), {});
    assert.equal((await publish(8, { skip_history: true, version_epoch: 'second' })).offset, undefined);
  });

  for (const parallel of [false, true])
    await t.test(`a batch answers every command in its place, parallel ${parallel}`, async () => {
      const channel = `chat:batch-${parallel}`;
      const commands = [
        { publish: { channel, data: { n: 1 } } },
        null,
        { telepathy: {} },
        { publish: { channel: 'nowhere:x', data: 1 } },
        { broadcast: { channels: [`${channel}-b`, 'nowhere:y'], data: 2 } },
        { rpc: { method: 'anything' } },
        { rpc: {} },
        { info: {} },
        { batch: { commands: [] } },
        { publish: { channel: 7, data: 1 } },
        ...range(1, 200).map((n) => ({ publish: { channel: `${channel}-${n % 7}`, data: n } })),
        { history: { channel, limit: -1 } },
      ];
      const { replies } = await gateway.api('batch', { parallel, commands });
      assert.equal(replies.length, 211);
      // The tiny limits of the verify build refuse some, with nothing done: asked again.
      for (const [i, command] of BINARY.includes('/verify/') ? commands.entries() : [])
        while ([100, 111].includes(replies[i].error?.code))
          [replies[i]] = (await gateway.api('batch', { commands: [command] })).replies;
      assert.equal(replies[0].publish.offset, 1);
      assert.deepEqual(replies.slice(1, 4).map((reply) => reply.error.code), [107, 104, 102]);
      assert.equal(replies[4].broadcast.responses[0].result.offset, 1);
      assert.equal(replies[4].broadcast.responses[1].error.code, 102);
      assert.deepEqual(replies.slice(5, 7).map((reply) => reply.error.code), [104, 107]);
      assert.equal(replies[7].info.nodes.length, 1);
      assert.deepEqual(replies.slice(8, 10).map((reply) => reply.error.code), [104, 107]);
      assert.deepEqual(new Set(replies.slice(10, 210).map((reply) => reply.publish.offset)), new Set(range(1, 29)));
      if (!parallel) assert.deepEqual(replies[210].history.publications.map((p) => p.data), [{ n: 1 }]);
    });

  await t.test('a batch has a limit, and may be empty', async () => {
    const commands = (count) => range(1, count).map(() => ({ rpc: { method: 'x' } }));
    assert.equal((await gateway.api('batch', { commands: commands(10000) })).replies.length, 10000);
    assert.deepEqual((await gateway.api('batch', { commands: commands(10001) })).error,
      { code: 106, message: 'too many commands in one batch' });
    assert.deepEqual(await gateway.api('batch', { commands: [] }), { replies: [] });
    assert.deepEqual(await gateway.api('batch', {}), { replies: [] });
    await assert.rejects(gateway.api('batch', { commands: {} }), /HTTP 400/);
  });

  await t.test('receipts: members read, counts follow', async () => {
    const channel = 'chat:team';
    await gateway.ask('members_set', { channel, members: ['ann', 'ben', 'cat'] });
    const ann = await connect(gateway, 'ann');
    const ben = await connect(gateway, 'ben');
    const eve = await connect(gateway, 'eve');
    t.after(() => [ann, ben, eve].forEach((client) => client.centrifuge.disconnect()));
    for (let i = 0; i < 5; i++) await gateway.ask('publish', { channel, data: i });
    await ann.centrifuge.publish(channel, 'mine');

    const read = async (client, offset) => (await client.centrifuge.rpc('receipt.read', { channel, offset })).data;
    assert.deepEqual(await read(ben, 3), { offset: 3 });
    assert.deepEqual(await read(ben, 2), { offset: 3 }); // lower: ignored
    assert.deepEqual(await read(ben, 999), { offset: 6 }); // above the head: clamped
    assert.deepEqual(await read(ann, 2), { offset: 6 }); // who sends has read what came before
    await assert.rejects(read(eve, 1), { code: 103 });

    const { data } = await ann.centrifuge.rpc('receipt.counts', { channel, offsets: [1, 2, 3, 6] });
    assert.deepEqual(data, { counts: [2, 2, 2, 1], eligible: [3, 3, 3, 2] });
    await assert.rejects(eve.centrifuge.rpc('receipt.counts', { channel, offsets: [1] }), { code: 103 });

    await gateway.kill();
    await gateway.start({ shards: 2 });
    await until(() => [ann, ben, eve].every((client) => client.connects === 2), 'all are back');
    const after = await ann.centrifuge.rpc('receipt.counts', { channel, offsets: [1, 2, 3, 6] });
    assert.deepEqual(after.data, { counts: [2, 2, 2, 1], eligible: [3, 3, 3, 2] });
  });

  await t.test('health and metrics', async () => {
    const health = await fetch(`${gateway.http}/health`);
    assert.equal(health.status, 200);
    const body = await health.json();
    assert.equal(body.store.engine, 'embedded');
    assert.equal((await fetch(`${gateway.http}/health/simple`)).status, 200);
    const metrics = await (await fetch(`${gateway.http}/metrics`)).text();
    assert.match(metrics, /^# TYPE sluice_node_num_clients gauge$/m);
    assert.match(metrics, /^sluice_node_num_clients 3$/m);
    assert.match(metrics, /^sluice_node_publications_total \d+$/m);
    assert.equal((await fetch(`${gateway.http}/nothing`)).status, 404);
  });
});

test('http_api.error_mode and http_api.disabled', async (t) => {
  const gateway = new Gateway({ shards: 1, config: { http_api: { key: KEY, error_mode: 'transport' } } });
  t.after(() => gateway.end());
  await gateway.start();
  const call = async (method, body) => {
    const answer = await fetch(`${gateway.http}/api/${method}`, { method: 'POST', headers: { 'X-API-Key': KEY }, body: JSON.stringify(body) });
    return { status: answer.status, body: await answer.json() };
  };
  for (const [method, body, status, code] of [
    ['publish', { channel: 'nowhere:x', data: 1 }, 404, 102],
    ['publish', { channel: '', data: 1 }, 400, 107],
    ['history', { channel: 'live:x' }, 400, 108],
    ['history', { channel: 'chat:x', limit: 1, since: { offset: 1, epoch: 'other' } }, 416, 112],
    ['rpc', { method: 'x' }, 404, 104],
    ['telepathy', {}, 404, 104],
  ]) {
    const refused = await call(method, body);
    assert.equal(refused.status, status, method);
    assert.equal(refused.body.code, code, method);
    assert.equal(typeof refused.body.message, 'string');
  }
  assert.equal((await call('publish', { channel: 'chat:x', data: 1 })).status, 200);
  // A batch as such succeeds; each of its replies says how its command ended.
  const batch = await call('batch', { commands: [{ rpc: { method: 'x' } }] });
  assert.deepEqual(batch, { status: 200, body: { replies: [{ error: { code: 104, message: 'not found' } }] } });

  const closed = new Gateway({ shards: 1, config: { http_api: { key: KEY, disabled: true } } });
  t.after(() => closed.end());
  await closed.start();
  assert.equal((await fetch(`${closed.http}/api/info`, { method: 'POST', headers: { 'X-API-Key': KEY }, body: '{}' })).status, 404);
});
