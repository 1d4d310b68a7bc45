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

test('metrics count what they say', async (t) => {
  const gateway = new Gateway({ shards: 3 });
  t.after(() => gateway.end());
  await gateway.start();
  const read = async () => {
    const text = await (await fetch(`${gateway.http}/metrics`)).text();
    for (const line of text.trim().split('\n'))
      assert.match(line, /^(# (HELP|TYPE) sluice_\w+ .+|sluice_\w+(\{\w+="[^"]*"\})? \d+)$/);
    return Object.fromEntries([...text.matchAll(/^sluice_(\S+) (\d+)$/gm)].map((row) => [row[1], Number(row[2])]));
  };
  const ann = await connect(gateway, 'ann');
  t.after(() => ann.centrifuge.disconnect());
  const feed = await subscribe(ann, 'chat:a');
  await gateway.ask('publish', { channel: 'chat:a', data: 1, idempotency_key: 'a' });
  await gateway.ask('publish', { channel: 'chat:a', data: 1, idempotency_key: 'a' });
  await until(() => feed.publications.length === 1, 'it came');
  const now = await read();
  for (const [name, value] of Object.entries({ node_num_clients: 1, node_num_subscriptions: 1, node_num_channels: 1,
    client_connections_accepted: 1, client_subscriptions_accepted: 1, client_num_server_unsubscribes: 0,
    node_publications_total: 1, broker_publish_suppressed_count: 1, 'client_recover{recovered="yes"}': 0 }))
    assert.equal(now[name], value, name);
});
