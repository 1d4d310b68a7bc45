// A backend that speaks of users: what it asks reaches every connection of the
// user on every shard, and those that are under way.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Gateway, sleep, token, until } from './gateway.mjs';
import { connect } from './client.mjs';
import { open, openAs, random } from './peer.mjs';

/** So many connections of `user` that 4 shards have some each. */
async function fleet(gateway, user, count = 12) {
  const peers = await Promise.all(Array.from({ length: count }, () => openAs(gateway, user)));
  for (const peer of peers) {
    const { connect: result } = await peer.reply(1);
    peer.id = result.client;
  }
  return peers;
}
const end = (peers) => { for (const peer of peers) peer.socket.close(); };
const node = async (gateway) => (await gateway.ask('info', {})).nodes[0];
/** Metric by name, summed over its lines. */
async function metric(gateway, name) {
  const text = await (await fetch(`${gateway.http}/metrics`)).text();
  const line = text.split('\n').find((l) => l.startsWith(`sluice_${name} `) || l.startsWith(`sluice_${name}{`));
  return Number(line.split(' ').at(-1));
}
const gone = (gateway) => until(async () => await metric(gateway, 'node_num_user_sessions') === 0
  && await metric(gateway, 'node_num_users') === 0, 'no session is left');

for (const shards of [1, 4])
  test(`calls for users on ${shards} shards`, async (t) => {
    const gateway = new Gateway({ shards, config: { log: { level: 'info' } } });
    t.after(() => gateway.end());
    await gateway.start();
    const witness = await openAs(gateway, 'witness');

    await t.test('disconnect ends all of them', async () => {
      const peers = await fleet(gateway, 'ann');
      await gateway.ask('disconnect', { user: 'ann' });
      await Promise.all(peers.map((peer) => peer.end()));
      for (const peer of peers) assert.deepEqual(peer.closed, { code: 3503, reason: 'force disconnect' });
      const again = await openAs(gateway, 'ann');
      await sleep(50);
      assert.equal(again.closed, null, 'who comes later is not meant');
      end([again]);
    });

    await t.test('with the backend\'s own code and reason', async () => {
      for (const [code, reason] of [[4000, ''], [4999, 'x'.repeat(123)], [3000, 'closed by hand'], [3014, '']]) {
        const [peer] = await fleet(gateway, 'bob', 1);
        await gateway.ask('disconnect', { user: 'bob', disconnect: { code, reason } });
        await peer.end();
        assert.equal(peer.closed.code, code);
        assert.equal(peer.closed.reason, reason || (code === 3014 ? 'state invalidated' : ''));
      }
    });

    await t.test('what may not be asked is 107', async () => {
      for (const body of [{}, { user: null }, { user: 'x'.repeat(256) }]) {
        for (const method of ['disconnect', 'refresh', 'subscribe', 'unsubscribe'])
          assert.equal((await gateway.api(method, body)).error.code, 107, `${method} ${JSON.stringify(body)}`);
      }
      for (const code of [1000, 2999, 3002, 3999, 5000, 70000])
        assert.equal((await gateway.api('disconnect', { user: 'a', disconnect: { code } })).error.code, 107, `code ${code}`);
      const long = { code: 4000, reason: 'x'.repeat(124) };
      assert.equal((await gateway.api('disconnect', { user: 'a', disconnect: long })).error.code, 107);
      assert.deepEqual(await gateway.ask('disconnect', { user: 'nobody' }), {});
    });

    await t.test('one client, or all but some', async () => {
      const peers = await fleet(gateway, 'cem');
      await gateway.ask('disconnect', { user: 'cem', client: peers[3].id });
      await peers[3].end();
      await gateway.ask('disconnect', { user: 'cem', client: 'no such client' });
      await gateway.ask('disconnect', { user: 'cem', session: 'of another transport' });
      await gateway.ask('disconnect', { user: 'cem', whitelist: [peers[0].id, 'nobody', peers[5].id] });
      const ended = peers.filter((_, i) => i !== 0 && i !== 5);
      await Promise.all(ended.map((peer) => peer.end()));
      assert.equal(peers[0].closed, null);
      assert.equal(peers[5].closed, null);
      end([peers[0], peers[5]]);
    });

    await t.test('refresh: expired now, at a time, or never', async () => {
      const peers = await fleet(gateway, 'dan', 6);
      await gateway.ask('refresh', { user: 'dan', expired: true });
      await Promise.all(peers.map((peer) => peer.end()));
      assert.deepEqual(peers[0].closed, { code: 3005, reason: 'connection expired' });

      const sdk = await connect(gateway, 'eve');
      const now = Math.floor(Date.now() / 1000);
      await gateway.ask('refresh', { user: 'eve', expire_at: now + 3600, info: { name: 'Eve' } });
      await gateway.ask('refresh', { user: 'eve' });
      assert.equal(sdk.centrifuge.state, 'connected');
      await gateway.ask('refresh', { user: 'eve', client: sdk.id, expired: true });
      await until(() => sdk.connects === 2, 'the SDK came back');
      assert.equal(sdk.disconnects.at(-1).code, 3005);
      await gateway.ask('refresh', { user: 'eve', expire_at: now - 1 });
      await until(() => sdk.connects === 3, 'what is past ends it at once');
      sdk.centrifuge.disconnect();
    });

    await t.test('subscribe and unsubscribe all of them', async () => {
      const peers = await fleet(gateway, 'fay');
      const pushed = (peer, kind, channel) => until(() => peer.messages
        .find((message) => message.push?.channel === channel && message.push[kind])?.push[kind], `a push ${kind}`);
      assert.equal((await gateway.api('subscribe', { user: 'fay', channel: '' })).error.code, 107);
      assert.equal((await gateway.api('subscribe', { user: 'fay', channel: 'nowhere:a' })).error.code, 102);
      // The namespace allows no client in; the backend does.
      await gateway.ask('subscribe', { user: 'fay', channel: 'closed:fay', data: { hello: 1 },
        override: { force_recovery: { value: true } } });
      for (const peer of peers) {
        const push = await pushed(peer, 'subscribe', 'closed:fay');
        assert.deepEqual(push.data, { hello: 1 });
        assert.equal(push.recoverable, true);
        assert.ok(push.epoch);
      }
      await gateway.ask('subscribe', { user: 'fay', channel: 'closed:fay' }); // they are already
      await gateway.ask('publish', { channel: 'closed:fay', data: { n: 1 } });
      await Promise.all(peers.map((peer) => until(() => peer.pushes('closed:fay').length === 1, 'the publication')));

      await gateway.ask('subscribe', { user: 'fay', channel: 'live:one', client: peers[2].id });
      await pushed(peers[2], 'subscribe', 'live:one');
      await gateway.ask('unsubscribe', { user: 'fay', channel: 'closed:fay' });
      for (const peer of peers)
        assert.deepEqual(await pushed(peer, 'unsubscribe', 'closed:fay'), { code: 2000, reason: 'server unsubscribe' });
      await gateway.ask('publish', { channel: 'closed:fay', data: { n: 2 } });
      await gateway.ask('unsubscribe', { user: 'fay' });
      assert.equal((await pushed(peers[2], 'unsubscribe', 'live:one')).code, 2000);
      for (const [i, peer] of peers.entries()) {
        assert.equal(peer.pushes('closed:fay').length, 1);
        if (i !== 2) assert.ok(!peer.messages.some((message) => message.push?.channel === 'live:one'));
      }
      end(peers);

      const sdk = await connect(gateway, 'gil');
      const ended = [];
      const subscription = sdk.centrifuge.newSubscription('chat:gil');
      subscription.on('unsubscribed', (context) => ended.push(context.code));
      subscription.subscribe();
      await subscription.ready(60000);
      await gateway.ask('unsubscribe', { user: 'gil', channel: 'chat:gil' });
      await until(() => ended.length === 1, 'the SDK heard of it');
      assert.deepEqual(ended, [2000]);
      sdk.centrifuge.disconnect();
    });

    await t.test('a ban meets connects that are under way', async () => {
      const below = random(7);
      for (let round = 0; round < 12; round++) {
        const peers = await Promise.all(Array.from({ length: 20 }, async () => {
          const peer = open(gateway);
          await peer.ready;
          return peer;
        }));
        const inside = await fleet(gateway, 'mob', 3);
        const said = peers.map(async (peer) => {
          await sleep(below(6));
          peer.send({ id: 1, connect: { token: token({ sub: 'mob' }) } },
            { id: 2, subscribe: { channel: 'chat:mob' } });
        });
        await sleep(below(6));
        const early = peers.filter((peer) => peer.messages.length > 0);
        await gateway.ask('disconnect', { user: 'mob' });
        await Promise.all(said);
        await Promise.all([...inside, ...early].map((peer) => peer.end()));
        // Who was under way was refused, who came later is in: nobody hangs.
        await until(() => peers.every((peer) => peer.closed || peer.messages.length > 0), 'each has its answer');
        for (const peer of peers) if (peer.closed) assert.equal(peer.closed.code, 3503);
        await gateway.ask('disconnect', { user: 'mob' });
        await Promise.all(peers.map((peer) => peer.end()));
      }
    });

    assert.equal(witness.closed, null, 'nobody else heard of it');
    end([witness]);
    await gone(gateway);
    assert.equal((await node(gateway)).num_users, 0);
  });

test('client.user_connection_limit', async (t) => {
  const client = { token: { hmac_secret_key: (await import('./gateway.mjs')).SECRET }, allowed_origins: ['*'],
    user_connection_limit: 3, allow_anonymous_connect_without_token: true };
  const gateway = new Gateway({ shards: 4, config: { client, log: { level: 'info' } } });
  t.after(() => gateway.end());
  await gateway.start();

  const peers = await fleet(gateway, 'ann', 3);
  const fourth = open(gateway);
  await fourth.ready;
  fourth.send({ id: 1, connect: { token: token({ sub: 'ann' }) } });
  await fourth.end();
  assert.deepEqual(fourth.closed, { code: 3504, reason: 'connection limit' });
  assert.equal(fourth.messages.length, 0);
  assert.ok(await metric(gateway, 'node_user_connection_limit') === 1);

  const others = await fleet(gateway, 'bob', 3);
  const anonymous = await Promise.all(Array.from({ length: 6 }, async () => {
    const peer = open(gateway);
    await peer.ready;
    peer.send({ id: 1, connect: {} });
    await peer.reply(1);
    return peer;
  }));
  peers.pop().socket.terminate();
  await until(async () => {
    const peer = open(gateway);
    await peer.ready;
    peer.send({ id: 1, connect: { token: token({ sub: 'ann' }) } });
    await until(() => peer.closed || peer.messages.length > 0, 'an answer');
    if (!peer.closed) peers.push(peer);
    return !peer.closed;
  }, 'there is room again');

  // However many come at once, no more than the limit get in.
  const crowd = await Promise.all(Array.from({ length: 40 }, async () => {
    const peer = open(gateway);
    await peer.ready;
    peer.send({ id: 1, connect: { token: token({ sub: 'crowd' }) } });
    await until(() => peer.closed || peer.messages.length > 0, 'an answer');
    return peer;
  }));
  assert.equal(crowd.filter((peer) => peer.messages.length > 0).length, 3);
  assert.equal(await metric(gateway, 'node_num_users'), 3);
  assert.equal(await metric(gateway, 'node_num_user_sessions'), 9);
  end([...peers, ...others, ...anonymous, ...crowd]);
  await gone(gateway);
});

test('single_connection: the newest stays', async (t) => {
  const client = { token: { hmac_secret_key: (await import('./gateway.mjs')).SECRET }, allowed_origins: ['*'],
    user_connection_limit: 1, subscribe_to_user_personal_channel: { enabled: true, single_connection: true } };
  const gateway = new Gateway({ shards: 4, config: { client, log: { level: 'info' } } });
  t.after(() => gateway.end());
  await gateway.start();

  let last = null;
  for (let i = 0; i < 10; i++) {
    const peer = await openAs(gateway, 'ann');
    if (last) {
      await last.end();
      assert.deepEqual(last.closed, { code: 3504, reason: 'connection limit' });
    }
    last = peer;
  }
  assert.equal(last.closed, null);
  const crowd = await Promise.all(Array.from({ length: 20 }, async () => {
    const peer = open(gateway);
    await peer.ready;
    peer.send({ id: 1, connect: { token: token({ sub: 'ann' }) } });
    return peer;
  }));
  await until(() => crowd.filter((peer) => peer.closed).length === 19, 'all but one ended');
  await last.end();
  await until(async () => await metric(gateway, 'node_num_user_sessions') === 1, 'one session is left');
  end(crowd);
  await gone(gateway);
});
