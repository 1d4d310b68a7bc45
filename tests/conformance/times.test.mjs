// What time does to a connection: pings, silence, tokens and subscriptions that end.
import assert from 'node:assert/strict';
import test from 'node:test';
import { connect, range, subscribe } from './client.mjs';
import { Gateway, SECRET, sleep, token, until } from './gateway.mjs';
import { frame, framesOf, open, openAs, openRaw } from './peer.mjs';

const soon = (seconds) => Math.floor(Date.now() / 1000) + seconds;
/** Never too early.  How late it may be is the machine's matter: what does not come at all ends by until(). */
const after = (began, least) => assert.ok(Date.now() - began >= least, `${Date.now() - began} ms, not ${least}`);

function gatewayWith(client) {
  return new Gateway({ shards: 2, config: { storage: { engine: 'memory' },
    client: { token: { hmac_secret_key: SECRET }, allowed_origins: ['*'], ...client } } });
}

test('times', { concurrency: true }, async (t) => {
  const quick = gatewayWith({ ping_interval: '1s', pong_timeout: '900ms', stale_close_delay: '1s', expired_close_delay: '0s', expired_sub_close_delay: '0s' });
  const patient = gatewayWith({ ping_interval: '1s', pong_timeout: '900ms', expired_close_delay: '1s', expired_sub_close_delay: '1s' });
  // For those who keep the rules, on a machine that lets them wait for seconds.
  const kind = gatewayWith({ ping_interval: '3s', pong_timeout: '2900ms', expired_close_delay: '5s', expired_sub_close_delay: '5s' });
  const all = [quick, patient, kind];
  t.after(() => Promise.all(all.map((gateway) => gateway.end())));
  await Promise.all(all.map((gateway) => gateway.start()));
  const cases = [];
  const check = (name, work) => cases.push(t.test(name, work));

  check('a ping without its pong ends with 3012', async () => {
    const began = Date.now();
    const peer = await openAs(quick, 'silent', { answersPings: false });
    assert.equal(peer.messages[0].connect.ping, 1);
    await peer.end();
    assert.equal(peer.closed.code, 3012);
    assert.equal(peer.messages.filter((message) => Object.keys(message).length === 0).length, 1);
    after(began, 1000);
  });

  check('a client that asks for much and reads nothing ends by its pong', async () => {
    for (let i = 0; i < 100; i++) await patient.ask('publish', { channel: 'chat:much', data: 'm'.repeat(20000) });
    const began = Date.now();
    const raw = await openRaw(patient, { id: 1, connect: { token: token({ sub: 'greedy' }) } });
    await until(() => raw.received.includes('"connect"'), 'it is connected');
    raw.socket.pause();
    raw.socket.write(frame(range(2, 41).map((id) => JSON.stringify({ id, history: { channel: 'chat:much', limit: 100 } })).join('\n')));
    await until(() => /user="greedy" reason=no_pong/.test(patient.log), 'it is gone');
    after(began, 1000);
    raw.socket.destroy();
  });

  check('a client that asks for much and reads slowly gets it all', async () => {
    for (let i = 0; i < 100; i++) await kind.ask('publish', { channel: 'chat:slowly', data: 'm'.repeat(20000) });
    const raw = await openRaw(kind, { id: 1, connect: { token: token({ sub: 'patient' }) } });
    await until(() => raw.received.includes('"connect"'), 'it is connected');
    raw.socket.write(frame(range(2, 21).map((id) => JSON.stringify({ id, history: { channel: 'chat:slowly', limit: 100 } })).join('\n')));
    // 40 MB at 32 KiB each 5 ms, also when the timer is late: longer than the first ping and
    // its pong may take.
    const parts = [], began = Date.now();
    let size = 0;
    raw.socket.removeAllListeners('data').on('readable', () => {});
    const reading = setInterval(() => {
      while (size < (Date.now() - began) / 5 * 32768) {
        const part = raw.socket.read(32768) ?? raw.socket.read();
        if (!part) break;
        parts.push(part);
        size += part.length;
      }
    }, 5);
    await until(() => raw.isEnded || size > 20 * 100 * 20000, 'what was asked for came');
    after(began, 6000);
    const replies = () => framesOf(Buffer.concat(parts)).filter(({ payload }) => payload.includes('"history"'));
    await until(() => raw.isEnded || replies().length === 20, 'the last answer came');
    clearInterval(reading);
    assert.equal(replies().length, 20);
    raw.socket.destroy();
  });

  check('an SDK that is pinged stays', async () => {
    const client = await connect(kind, 'awake');
    await sleep(9000); // twice at least
    assert.equal(client.connects, 1);
    assert.equal(client.centrifuge.state, 'connected');
    client.centrifuge.disconnect();
  });

  check('a connection without a connect command is stale: 3502', async () => {
    const began = Date.now();
    const peer = open(quick);
    await peer.ready;
    await peer.end();
    assert.deepEqual(peer.closed, { code: 3502, reason: 'stale' });
    after(began, 1000);
  });

  for (const [name, gateway, grace] of [['no delay', quick, 0], ['a delay of 1 s', patient, 1]])
    check(`a token that ends closes with 3005 after ${name}`, async () => {
      const exp = soon(5);
      const peer = await openAs(gateway, 'mayfly', { claims: { exp } });
      assert.equal(peer.messages[0].connect.expires, true);
      assert.ok(peer.messages[0].connect.ttl >= 1 && peer.messages[0].connect.ttl <= 5);
      await peer.end();
      assert.deepEqual(peer.closed, { code: 3005, reason: 'connection expired' });
      after((exp + grace) * 1000, -50);
    });

  check('an SDK that brings a new token in time stays, and its subscription', async () => {
    let fetched = 0;
    const client = await connect(kind, 'renewed', {
      token: token({ sub: 'renewed', exp: soon(3) }),
      getToken: async () => { fetched++; return token({ sub: 'renewed', exp: soon(3) }); } });
    const feed = await subscribe(client, 'chat:renewed');
    await sleep(9000); // longer than the first one and its delay
    await until(() => fetched >= 2, 'its tokens were renewed');
    assert.equal(client.connects, 1);
    await client.centrifuge.publish('chat:renewed', 1);
    await until(() => feed.publications.length === 1, 'it still receives');
    assert.equal(feed.subscribed.length, 1);
    client.centrifuge.disconnect();
  });

  check('a new token for somebody else is 3500', async () => {
    const peer = await openAs(patient, 'ann', { claims: { exp: soon(30) } });
    peer.send({ id: 2, refresh: { token: token({ sub: 'eve', exp: soon(30) }) } });
    await peer.end();
    assert.equal(peer.closed.code, 3500);
  });

  check('subscription tokens are renewed by the SDK', async () => {
    let fetched = 0;
    const client = await connect(kind, 'reader');
    const getToken = async () => { fetched++; return token({ sub: 'reader', channel: 'closed:a', exp: soon(3) }); };
    const feed = await subscribe(client, 'closed:a', { getToken });
    await sleep(9000);
    await until(() => fetched >= 3, 'its tokens were renewed');
    assert.equal(feed.subscribed.length, 1);
    await kind.ask('publish', { channel: 'closed:a', data: 1 });
    await until(() => feed.publications.length === 1, 'it still receives');
    client.centrifuge.disconnect();
  });

  check('a subscription that is not renewed ends with 2501', async () => {
    const peer = await openAs(quick, 'reader');
    peer.send({ id: 2, subscribe: { channel: 'closed:b', token: token({ sub: 'reader', channel: 'closed:b', exp: soon(5) }) } });
    const { subscribe: result } = await peer.reply(2);
    assert.equal(result.expires, true);
    const push = await until(() => peer.messages.find((message) => message.push?.unsubscribe), 'the subscription ended');
    assert.equal(push.push.channel, 'closed:b');
    assert.equal(push.push.unsubscribe.code, 2501);
    await quick.ask('publish', { channel: 'closed:b', data: 1 });
    await sleep(300);
    assert.deepEqual(peer.pushes('closed:b'), []);
    assert.equal(peer.closed, null);
    peer.socket.terminate();
  });

  check('a subscription token is for its user and channel only', async () => {
    const cases = [
      [{ sub: 'reader', channel: 'closed:other' }, 3500], [{ sub: 'eve', channel: 'closed:c' }, 3500],
      [{ sub: 'reader', channel: 'closed:c', exp: soon(-5) }, 109], [{ sub: 'reader' }, 103]];
    for (const [claims, code] of cases) {
      const peer = await openAs(patient, 'reader');
      peer.send({ id: 2, subscribe: { channel: 'closed:c', token: token(claims) } });
      if (code >= 3000) await peer.end();
      else await peer.reply(2);
      assert.equal(peer.closed?.code ?? peer.messages.at(-1).error.code, code, JSON.stringify(claims));
      peer.socket.terminate();
    }
  });

  await Promise.all(cases);
  await t.test('both end cleanly', async () => {
    for (const gateway of all) assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
  });
});
