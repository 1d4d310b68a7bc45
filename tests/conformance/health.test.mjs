// /health tells each dependency, and is red when clients would feel it; /metrics has the names of the family.
import assert from 'node:assert/strict';
import test from 'node:test';
import WebSocket from 'ws';
import { connect, subscribe } from './client.mjs';
import { Gateway, until } from './gateway.mjs';
import { KeyServer, makeKey, sign } from './keys.mjs';

const health = async (gateway) => {
  const answer = await fetch(`${gateway.http}/health`);
  return { status: answer.status, body: await answer.json() };
};

test('health tells the store, the keys and the shards', async (t) => {
  const key = makeKey('ES256', 'k');
  const server = await new KeyServer(key).start();
  const gateway = new Gateway({ shards: 2, config: { client: { token: { jwks_public_endpoint: server.url } } } });
  t.after(async () => { await server.stop(); await gateway.end(); });
  await gateway.start();
  const before = await health(gateway);
  assert.equal(before.status, 200);
  assert.equal(before.body.status, 'ok');
  assert.equal(before.body.store.ok, true);
  assert.equal(typeof before.body.store.latency_us, 'number');
  assert.deepEqual(before.body.keys, { ok: true, detail: 'no token wanted a key yet', latency_us: 0 });
  assert.equal(before.body.shards.length, 2);

  const knock = () => {
    const socket = new WebSocket(gateway.url);
    socket.on('open', () => socket.send(JSON.stringify({ id: 1, connect: { token: sign({ sub: 'u' }, key) } })));
    socket.on('error', () => {});
    return socket;
  };
  server.mode = 'error';
  const sockets = [knock()];
  const red = await until(async () => {
    const now = await health(gateway);
    return now.status === 503 && now;
  }, 'the keys are missed');
  assert.equal(red.body.keys.ok, false);
  assert.match(red.body.keys.detail, /cannot connect/);
  assert.equal(red.body.store.ok, true);
  server.mode = 'ok';
  await until(async () => {
    sockets.push(knock());
    return (await health(gateway)).status === 200;
  }, 'the keys are there again');
  for (const socket of sockets) socket.terminate();
  assert.equal((await health(gateway)).body.keys.detail, 'the last fetch was good');
});

/** A strict reader of text exposition 0.0.4: each family once, HELP, TYPE, then its samples, each once. */
function exposition(text) {
  assert.ok(text.endsWith('\n'));
  const families = new Set(), samples = {};
  let family = null;
  for (const line of text.slice(0, -1).split('\n')) {
    const head = /^# (HELP|TYPE) (sluice_[a-z][a-z0-9_]*) (.+)$/.exec(line);
    if (head?.[1] === 'HELP') {
      assert.ok(family === null || family.count > 0, `${family?.name} has no sample`);
      assert.ok(!families.has(head[2]), `${head[2]} stands twice`);
      assert.match(head[3], /^[^\\]+\.$/, line);
      families.add(head[2]);
      family = { name: head[2], type: null, count: 0 };
    } else if (head) {
      assert.deepEqual([family.name, family.type, family.count], [head[2], null, 0], line);
      assert.match(head[3], /^(counter|gauge|histogram)$/);
      Object.assign(family, { type: head[3], bucket: -1, rows: [] });
    } else {
      const sample = /^(sluice_[a-z0-9_]+)(\{[a-z_]+="(?:[^"\\]|\\["\\n])*"\})? (\d+(?:\.\d+)?)$/.exec(line);
      assert.ok(sample, line);
      assert.notEqual(family.type, null, line);
      if (family.type === 'histogram') {
        // Buckets by rising bound up to +Inf, each with all below it; sum; count, the same as +Inf.
        const row = /^(.+)_(bucket|sum|count)$/.exec(sample[1]);
        assert.equal(row[1], family.name);
        family.rows.push(row[2]);
        if (row[2] === 'bucket') {
          const bound = Number(/le="(.+)"/.exec(sample[2])[1].replace('+Inf', 'Infinity'));
          assert.ok(bound > family.bucket && Number(sample[3]) >= (family.all ?? 0), line);
          Object.assign(family, { bucket: bound, all: Number(sample[3]) });
        } else if (row[2] === 'count') {
          assert.equal(family.bucket, Infinity);
          assert.equal(Number(sample[3]), family.all);
          assert.deepEqual(family.rows.slice(-3), ['bucket', 'sum', 'count']);
        }
      } else {
        assert.equal(sample[1], family.name);
        assert.match(sample[3], /^\d+$/);
      }
      const name = line.slice('sluice_'.length, line.lastIndexOf(' '));
      assert.ok(!(name in samples), `${name} stands twice`);
      samples[name] = Number(sample[3]);
      family.count++;
    }
  }
  assert.ok(family.count > 0);
  return samples;
}

test('metrics count what they say', async (t) => {
  const gateway = new Gateway({ shards: 3 });
  t.after(() => gateway.end());
  await gateway.start();
  const read = async () => {
    const page = await fetch(`${gateway.http}/metrics`);
    assert.equal(page.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
    return exposition(await page.text());
  };
  const ann = await connect(gateway, 'ann');
  t.after(() => ann.centrifuge.disconnect());
  const feed = await subscribe(ann, 'chat:a');
  await gateway.ask('publish', { channel: 'chat:a', data: 1, idempotency_key: 'a' });
  await gateway.ask('publish', { channel: 'chat:a', data: 1, idempotency_key: 'a' });
  await until(() => feed.publications.length === 1, 'it came');
  const now = await read();
  for (const [name, value] of Object.entries({ node_num_clients: 1, node_num_subscriptions: 1, node_num_channels: 1,
    client_connections_accepted: 1, client_subscriptions_accepted: 1, client_connections_inflight: 1,
    client_subscriptions_inflight: 1, node_num_nodes: 1, api_command_duration_seconds_count: 2, scrape_shards_missing: 0, node_num_users: 1,
    'client_num_server_unsubscribes{code="2000"}': 0, 'node_action_count{action="add_client"}': 1,
    'node_action_count{action="add_subscription"}': 1, 'node_action_count{action="survey"}': 1, 'node_action_count{action="remove_client"}': 0,
    'node_messages_sent_count{type="publication"}': 1, 'node_messages_received_count{type="publication"}': 1,
    'node_messages_sent_count{type="control"}': 0, client_recovered_publications_count: 0, node_pub_sub_lag_seconds_count: 0,
    node_publications_total: 1, 'broker_publish_suppressed_count{reason="idempotency"}': 1, 'broker_publish_suppressed_count{reason="version"}': 0, 'client_recover{recovered="yes"}': 0 }))
    assert.equal(now[name], value, name);

  // What ends or is refused counts by its code.
  await ann.centrifuge.rpc('telepathy', {}).catch(() => {});
  await gateway.api('publish', { channel: 'nowhere:x', data: 1 });
  await gateway.ask('unsubscribe', { user: 'ann', channel: 'chat:a' });
  await gateway.ask('disconnect', { user: 'ann' });
  await fetch(`${gateway.http}/api/info`, { method: 'POST', body: '{}' });
  await until(async () => (await read()).node_num_clients === 0, 'ann is gone');
  const after = await read();
  for (const name of ['client_num_reply_errors{code="108"}', 'api_command_errors_total{code="102"}', 'api_command_errors_total{code="other"}',
    'client_num_server_unsubscribes{code="2000"}', 'client_num_server_disconnects{code="3503"}', 'transport_outgoing_close_count{code="3503"}',
    'node_action_count{action="remove_client"}', 'node_action_count{action="remove_subscription"}'])
    assert.equal(after[name], 1, name);
  // A call for a user goes to his home, and from there to his connections.
  assert.equal(after['node_messages_sent_count{type="control"}'], 4);
  assert.equal(after['node_messages_received_count{type="control"}'], 4);
});
