// Where a client stands, kept for it: a new process of the same device goes on where the
// old one was, on another gateway, and gets exactly what it missed.
import assert from 'node:assert/strict';
import test from 'node:test';
import { connect, range, subscribe } from './client.mjs';
import { Gateway, until } from './gateway.mjs';
import { Redis } from './redis.mjs';

const refused = (call, code) => assert.rejects(call, (error) => error.code === code);

test('sync.save and sync.load', async (t) => {
  const redis = await new Redis().start();
  t.after(() => redis.end());
  const options = { config: { storage: { engine: 'redis' }, redis: redis.patient } };
  const here = new Gateway(options), there = new Gateway(options);
  t.after(() => { here.end(); there.end(); });
  await here.start({ shards: 1 });
  await there.start({ shards: 4 });
  const clients = [];
  t.after(() => { for (const client of clients) client.centrifuge.disconnect(); });
  const enter = async (gateway, user) => {
    const client = await connect(gateway, user);
    clients.push(client);
    client.rpc = async (method, data) => (await client.centrifuge.rpc(method, data)).data;
    return client;
  };
  const publish = async (channel, first, last) => {
    for (const n of range(first, last)) await here.ask('publish', { channel, data: n });
  };

  await t.test('a new process gets exactly what the old one missed, in each conversation', async () => {
    const old = await enter(here, 'ann');
    const feeds = [await subscribe(old, 'chat:a'), await subscribe(old, 'chat:b')];
    await publish('chat:a', 1, 5);
    await publish('chat:b', 1, 3);
    await until(() => feeds[0].publications.length === 5 && feeds[1].publications.length === 3, 'all came');
    const epochs = [];
    for (const [i, channel] of ['chat:a', 'chat:b'].entries()) {
      epochs[i] = (await here.ask('history', { channel, limit: 0 })).epoch;
      await old.rpc('sync.save', { client: 'phone', channels: { [channel]: { offset: feeds[i].publications.at(-1).offset, epoch: epochs[i] } } });
    }
    old.centrifuge.disconnect();
    await publish('chat:a', 6, 9);

    const fresh = await enter(there, 'ann');
    const { channels } = await fresh.rpc('sync.load', { client: 'phone' });
    assert.deepEqual(Object.keys(channels).sort(), ['chat:a', 'chat:b']);
    assert.deepEqual([channels['chat:a'].offset, channels['chat:a'].epoch, channels['chat:a'].missed], [5, epochs[0], 4]);
    assert.deepEqual([channels['chat:b'].offset, channels['chat:b'].missed], [3, 0]);
    assert.ok(Math.abs(channels['chat:a'].at - Date.now()) < 600000);
    const feed = fresh.centrifuge.newSubscription('chat:a', { since: { offset: channels['chat:a'].offset, epoch: channels['chat:a'].epoch } });
    const got = [];
    feed.on('publication', (publication) => got.push(publication.data));
    const subscribed = new Promise((done) => feed.on('subscribed', done));
    feed.subscribe();
    assert.equal((await subscribed).recovered, true);
    await until(() => got.length === 4, 'what was missed came');
    assert.deepEqual(got, range(6, 9));
    await fresh.rpc('sync.save', { client: 'phone', channels: { 'chat:a': { offset: 9, epoch: epochs[0] } } });
    assert.equal((await fresh.rpc('sync.load', { client: 'phone' })).channels['chat:a'].missed, 0);
  });

  await t.test('what cannot be is refused', async () => {
    const ben = await enter(there, 'ben');
    const position = { 'chat:a': { offset: 1, epoch: 'e' } };
    assert.deepEqual(await ben.rpc('sync.load', { client: 'phone' }), { channels: {} });
    await refused(ben.rpc('sync.save', { client: 'phone', channels: position }), 103);
    await subscribe(ben, 'chat:a');
    assert.deepEqual(await ben.rpc('sync.save', { client: 'phone', channels: position }), {});
    assert.equal((await ben.rpc('sync.load', { client: 'phone' })).channels['chat:a'].missed, undefined);
    await refused(ben.rpc('sync.save', { client: 'phone' }), 107);
    await refused(ben.rpc('sync.save', { client: 'two words', channels: position }), 107);
    await refused(ben.rpc('sync.save', { client: 'phone', channels: { 'chat:a': { offset: 1 } } }), 107);
    await refused(ben.rpc('sync.load', {}), 107);
    await refused(ben.rpc('sync.other', {}), 104);
    const alone = new Gateway();
    t.after(() => alone.end());
    await alone.start({ shards: 1 });
    await refused((await enter(alone, 'ann')).rpc('sync.load', { client: 'phone' }), 108);
  });
});
