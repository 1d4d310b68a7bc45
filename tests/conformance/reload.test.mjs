// SIGHUP: what takes effect at once, what waits for a start, and that nobody notices.
import assert from 'node:assert/strict';
import test from 'node:test';
import WebSocket from 'ws';
import { connect, subscribe } from './client.mjs';
import { Gateway, KEY, NAMESPACES, SECRET, sleep, token, until } from './gateway.mjs';

const OTHER = 'another-secret-of-32-characters-x';

/** HTTP status of an upgrade from `origin`; 101 when it opened. */
const upgrade = (gateway, origin) => new Promise((done) => {
  const socket = new WebSocket(gateway.url, { origin });
  socket.on('open', () => { socket.terminate(); done(101); });
  socket.on('unexpected-response', (request, response) => { request.destroy(); done(response.statusCode); });
  socket.on('error', () => {});
});

const status = async (gateway, key) => (await fetch(`${gateway.http}/api/info`,
  { method: 'POST', headers: { 'X-API-Key': key }, body: '{}' })).status;

for (const shards of [1, 4])
  test(`reload with ${shards} shards`, async (t) => {
    const gateway = new Gateway({ shards });
    t.after(() => gateway.end());
    await gateway.start();
    const ann = await connect(gateway, 'ann');
    t.after(() => ann.centrifuge.disconnect());
    const feed = await subscribe(ann, 'chat:room');

    await t.test('origins, keys, tokens and the level of the log change at once', async () => {
      assert.equal(await upgrade(gateway, 'https://elsewhere.example'), 101);
      gateway.options.config = { client: { token: { hmac_secret_key: OTHER }, allowed_origins: ['https://*.here.example'],
        connect_include_server_time: true },
        http_api: { key: 'new-key' }, log: { level: 'info' } };
      const said = await gateway.reload();
      assert.match(said, /info .*reloaded/);
      assert.equal(await upgrade(gateway, 'https://elsewhere.example'), 403);
      assert.equal(await upgrade(gateway, 'https://www.here.example'), 101);
      assert.equal(await status(gateway, KEY), 401);
      assert.equal(await status(gateway, 'new-key'), 200);
      const reply = await new Promise((done) => {
        const socket = new WebSocket(gateway.url);
        socket.on('open', () => socket.send(JSON.stringify({ id: 1, connect: { token: token({ sub: 'dan' }, OTHER) } })));
        socket.on('message', (bytes) => { done(JSON.parse(bytes)); socket.terminate(); });
      });
      assert.ok(Math.abs(reply.connect.time - Date.now()) < 60000, 'the reply tells the time');
      const from = gateway.log.length;
      const ben = await connect(gateway, 'ben', { token: token({ sub: 'ben' }, OTHER) });
      ben.centrifuge.disconnect();
      assert.doesNotMatch(gateway.log.slice(from), / debug /);
      await assert.rejects(connect(gateway, 'cat', { token: token({ sub: 'cat' }, SECRET) }));
      gateway.options.config = {};
      await gateway.reload();
      assert.equal(await status(gateway, KEY), 200);
    });

    await t.test('namespaces come and go', async () => {
      assert.equal((await gateway.api('publish', { channel: 'fresh:a', data: 1 })).error.code, 102);
      gateway.options.config = { channel: { namespaces: [...NAMESPACES,
        { name: 'fresh', history_size: 10, history_ttl: '60s', allow_subscribe_for_client: true }] } };
      await gateway.reload();
      assert.equal((await gateway.ask('publish', { channel: 'fresh:a', data: 1 })).offset, 1);
      const fresh = await subscribe(ann, 'fresh:a');
      gateway.options.config = { channel: { namespaces: NAMESPACES.map((space) =>
        (space.name === 'chat' ? { ...space, history_size: 2 } : space)) } };
      await gateway.reload();
      assert.equal((await gateway.api('publish', { channel: 'fresh:a', data: 2 })).error.code, 102);
      assert.equal(fresh.subscription.state, 'subscribed');
      // An open channel keeps as much as its new options say.
      for (let n = 1; n <= 5; n++) await gateway.ask('publish', { channel: 'chat:room', data: n });
      const { publications } = await gateway.ask('history', { channel: 'chat:room', limit: -1 });
      assert.deepEqual(publications.map((p) => p.data), [4, 5]);
    });

    await t.test('a file with mistakes changes nothing and says every one', async () => {
      const said = await gateway.reload('{"client": {"ping_interval": "soon", "insecure": "perhaps"}, "wings": 2}');
      assert.match(said, /error .*client\.ping_interval: 'soon' is not a duration/);
      assert.match(said, /error .*client\.insecure: /);
      assert.match(said, /error .*wings: unknown option/);
      assert.match(said, /nothing was changed/);
      assert.match(await gateway.reload('{'), /error .*not JSON/);
      assert.equal(await status(gateway, KEY), 200);
      assert.equal((await fetch(`${gateway.http}/health`)).status, 200);
    });

    await t.test('what only a start can take is said by name and kept', async () => {
      gateway.options.config = { websocket: { handler_prefix: '/elsewhere' }, node: { name: 'renamed' } };
      const said = await gateway.reload();
      assert.match(said, /warn .*websocket\.handler_prefix: changed, and takes effect at the next start/);
      assert.match(said, /warn .*node\.name: changed/);
      assert.equal(await upgrade(gateway, 'https://any.example'), 101);
    });

    await t.test('the client that was there noticed nothing', async () => {
      await gateway.ask('publish', { channel: 'chat:room', data: 'last' });
      await until(() => feed.publications.some((p) => p.data === 'last'), 'the last one came');
      assert.deepEqual(feed.publications.map((p) => p.data), [1, 2, 3, 4, 5, 'last']);
      assert.equal(ann.connects, 1);
    });

    await t.test('many reloads under load lose nothing', async () => {
      feed.publications.length = 0;
      let published = 0, isOver = false;
      const load = (async () => {
        while (!isOver) await gateway.ask('publish', { channel: 'chat:room', data: published++ });
      })();
      for (let n = 0; n < 20; n++) {
        gateway.options.config = { log: { level: n % 2 ? 'debug' : 'info' } };
        await gateway.reload();
      }
      isOver = true;
      await load;
      await until(() => feed.publications.length === published, 'all came');
      assert.deepEqual(feed.publications.map((p) => p.data), [...Array(published).keys()]);
    });
  });

test('a second signal ends a drain at once', async (t) => {
  const gateway = new Gateway({ shards: 2, config: { shutdown: { timeout: '60s' } } });
  t.after(() => gateway.end());
  await gateway.start();
  // Clients that never answer the close frame hold the drain up.
  const sockets = await Promise.all(Array.from({ length: 3 }, () => new Promise((done) => {
    const socket = new WebSocket(gateway.url);
    socket.on('open', () => { socket._socket.pause(); done(socket); });
    socket.on('error', () => {});
  })));
  gateway.child.kill('SIGINT');
  await until(() => /draining/.test(gateway.log), 'the drain began');
  await sleep(20);
  gateway.child.kill('SIGINT');
  const { code } = await gateway.exited;
  for (const socket of sockets) socket.terminate();
  assert.equal(code, 1);
  assert.match(gateway.log, /warn .*asked to end again/);
});
