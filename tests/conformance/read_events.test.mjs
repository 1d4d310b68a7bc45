// Cursor moves that a chat server tells of in the Redis stream read_cursor_events.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Gateway, until } from './gateway.mjs';
import { ReadIndex, serving } from './read_index.mjs';
import { Redis } from './redis.mjs';

const STREAM = 'read_cursor_events';

/** With an embedded store, or over the same Redis; events come from it in both. */
async function world(t, engine, count = 1, options = {}) {
  const redis = await new Redis().start();
  t.after(() => redis.end());
  const gateways = [];
  for (let i = 0; i < count; i++) {
    const gateway = new Gateway({ shards: 2 });
    gateway.options.config = serving({ redis: { ...redis.options, ...options }, node: { name: `node-${i}` },
      storage: { engine, path: `${gateway.dir}/data` },
      read_index: { enabled: true, address: '127.0.0.1', port: 0, events: true } });
    t.after(() => gateway.end());
    gateways.push(await gateway.start());
  }
  const tell = (channel, user, seq, at = Date.now()) => redis.say('XADD', STREAM, '*', 'channel_id', channel,
    'user_id', user, 'last_post_seq', String(seq), 'updated_at', String(at));
  return { redis, gateways, indexes: gateways.map((gateway) => new ReadIndex(gateway)), tell };
}

const pending = (redis) => Number(redis.say('XPENDING', STREAM, 'sluice').split('\n')[0]);

test('an embedded store, a Redis of the chat server', async (t) => {
  const { redis, gateways: [gateway], indexes: [index], tell } = await world(t, 'embedded');
  const reads = async (user) => (await index.ask('GET', `/channels/town/read_cursor?user=${user}`)).offset;
  const dealt = (count) => until(async () => await index.metric('read_index_events_processed') >= count, `${count} events are dealt with`);
  await index.ask('PUT', '/channels/town/members', { users: ['ann', 'bob'] });
  for (const seq of [100, 200, 200, 300]) await index.ask('PUT', '/channels/town/head', { seq });

  await t.test('a move is a cursor; again, or lower, changes nothing', async () => {
    tell('town', 'ann', 250);
    await dealt(1);
    assert.equal(await reads('ann'), 3);
    tell('town', 'ann', 250);
    tell('town', 'ann', 100);
    tell('town', 'bob', 199);
    await dealt(4);
    assert.deepEqual([await reads('ann'), await reads('bob')], [3, 1]);
  });

  await t.test('what cannot be done is counted, acknowledged and in nobody\'s way', async () => {
    tell('town', 'zoe', 100);
    tell('nowhere:x', 'ann', 100);
    tell('memberless', 'ann', 100);
    tell('town', 'ann', 'soon');
    redis.say('XADD', STREAM, '*', 'something', 'else');
    tell('town', 'bob', 300);
    await dealt(10);
    assert.equal(await reads('bob'), 4);
    assert.equal(await index.metric('read_index_events_refused_total'), 5);
    await until(() => pending(redis) === 0, 'all is acknowledged');
  });

  await t.test('a kill -9 loses none, and what a consumer left behind is taken over', async () => {
    await index.ask('PUT', '/channels/town/head', { seq: 400 });
    await gateway.kill();
    const left = tell('town', 'bob', 400);
    redis.say('XREADGROUP', 'GROUP', 'sluice', 'gone', 'STREAMS', STREAM, '>');
    redis.say('XCLAIM', STREAM, 'sluice', 'gone', '0', left, 'IDLE', '120000');
    tell('town', 'ann', 400);
    await gateway.start();
    await until(async () => await reads('ann') === 5 && await reads('bob') === 5, 'both moves are there');
    await until(() => pending(redis) === 0, 'and acknowledged');
  });

  await t.test('messages flow while that Redis is away, and moves come when it is back', async () => {
    await redis.kill();
    assert.equal((await index.ask('PUT', '/channels/town/head', { seq: 500 })).offset, 6);
    assert.equal((await index.ask('POST', '/channels/town/view', { user: 'bob' })).offset, 6);
    await redis.start();
    tell('town', 'ann', 500);
    await until(async () => await reads('ann') === 6, 'the move is there');
  });

  await t.test('the stream vanishes with its group', async () => {
    redis.say('DEL', STREAM);
    await index.ask('PUT', '/channels/town/head', { seq: 600 });
    tell('town', 'ann', 600);
    await until(async () => await reads('ann') === 7, 'the move is there');
  });
});

test('two nodes over one Redis share the stream', async (t) => {
  const { redis, indexes: [first, second], tell } = await world(t, 'redis', 2);
  const users = Array.from({ length: 40 }, (_, n) => `u${n}`);
  await first.ask('PUT', '/channels/team/members', { users });
  for (let seq = 1; seq <= 10; seq++) await second.ask('PUT', '/channels/team/head', { seq });
  for (const user of users) tell('team', user, 7);
  const counted = async (index) => (await index.ask('GET', '/channels/team/messages/7/read_count')).count;
  await until(async () => await counted(first) === 40 && await counted(second) === 40, 'both nodes have every move');
  await until(() => pending(redis) === 0, 'all is acknowledged');
  const dealt = await Promise.all([first, second].map((index) => index.metric('read_index_events_processed')));
  assert.equal(dealt[0] + dealt[1], 40);
});

test('a damaged channel is in nobody\'s way', async (t) => {
  const { redis, indexes: [index], tell } = await world(t, 'redis', 1, { partitions: 1 });
  await index.ask('PUT', '/channels/town/members', { users: ['ann'] });
  await index.ask('PUT', '/channels/town/head', { seq: 100 });
  redis.say('HSET', 'sluice:{p0}:m:broken', 'ann', 'rubbish');
  tell('broken', 'ann', 100);
  tell('town', 'ann', 100);
  await until(() => pending(redis) === 0, 'all is acknowledged');
  tell('town', 'ann', 100);
  await until(async () => await index.metric('read_index_events_processed') === 3, 'what comes later is dealt with');
  assert.equal(await index.metric('read_index_events_refused_total'), 1);
});
