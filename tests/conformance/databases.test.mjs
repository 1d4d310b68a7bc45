// Two databases of one redis-server are two stores, though Redis' pub/sub knows no databases.
import assert from 'node:assert/strict';
import test from 'node:test';
import { connect, subscribe } from './client.mjs';
import { Gateway, until } from './gateway.mjs';
import { Redis } from './redis.mjs';

test('gateways on two databases of one Redis hear nothing of each other', async (t) => {
  const redis = await new Redis().start();
  t.after(() => redis.end());
  const gateways = [], feeds = [], clients = [];
  for (const db of [0, 1]) {
    const gateway = new Gateway({ config: { storage: { engine: 'redis' }, redis: { ...redis.options, db } } });
    t.after(() => gateway.end());
    gateways.push(await gateway.start());
    const client = await connect(gateway, 'u');
    t.after(() => client.centrifuge.disconnect());
    clients.push(client);
    feeds.push([await subscribe(client, 'live:1'), await subscribe(client, 'chat:1')]);
  }
  for (const [at, gateway] of gateways.entries())
    for (const channel of ['live:1', 'chat:1']) await gateway.ask('publish', { channel, data: { at } });
  await until(() => feeds.flat().every(({ publications }) => publications.length > 0), 'each heard its own');
  await gateways[0].ask('disconnect', { user: 'u' });
  await until(() => clients[0].centrifuge.state === 'disconnected', 'the user of the first is sent away');
  for (const channel of ['live:1', 'chat:1']) await gateways[1].ask('publish', { channel, data: { at: 1 } });
  await until(() => feeds[1].every(({ publications }) => publications.length === 2), 'the second goes on');
  for (const [at, mine] of feeds.entries())
    for (const { publications } of mine) assert.ok(publications.every(({ data }) => data.at === at));
  assert.equal(clients[1].connects, 1);
  assert.equal((await gateways[1].ask('info', {})).nodes.length, 1);
});
