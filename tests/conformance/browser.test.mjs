// A real browser with the browser build of the official SDK: its own WebSocket,
// its own Origin, its own idea of a close.  Skipped where there is no Chromium.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import test from 'node:test';
import { BROWSER, Browser } from './browser.mjs';
import { range } from './client.mjs';
import { Gateway, SECRET, token, until } from './gateway.mjs';
import { busy as busyClient, channel, client } from './script.mjs';
import { scenes } from './scenes.mjs';

const SCRIPTS = { '/json.js': 'node_modules/centrifuge/dist/centrifuge.js', '/script.mjs': 'script.mjs', '/scenes.mjs': 'scenes.mjs',
  '/protobuf.js': 'node_modules/centrifuge/dist/centrifuge.protobuf.js' };

const PAGE = `<!doctype html><meta charset="utf-8"><title>sluice</title><script src="/json.js"></script><script>
  const seen = { publications: [], subscribed: [], states: [], errors: [] };
  function begin(url, token, channel) {
    window.centrifuge = new Centrifuge(url, { token, timeout: 30000, minReconnectDelay: 20, maxReconnectDelay: 200 });
    for (const name of ['connecting', 'connected', 'disconnected'])
      centrifuge.on(name, ({ code, reason }) => seen.states.push({ name, code, reason }));
    centrifuge.on('error', ({ error }) => seen.errors.push(error));
    window.subscription = centrifuge.newSubscription(channel);
    subscription.on('publication', ({ data, offset }) => seen.publications.push({ data, offset }));
    subscription.on('subscribed', ({ wasRecovering, recovered }) => seen.subscribed.push({ wasRecovering, recovered }));
    subscription.subscribe();
    centrifuge.connect();
  }
</script>`;

/** A page that plays every scene on one wire. */
const STAGE = (wire) => `<!doctype html><meta charset="utf-8"><title>sluice</title><script src="/${wire}.js"></script><script type="module">
  import { Scene } from '/script.mjs';
  import { scenes } from '/scenes.mjs';
  const ask = async (what, body) => (await fetch('/ask/' + what, { method: 'POST', body: JSON.stringify(body) })).json();
  const at = { wire: '${wire}', Centrifuge, WebSocket, api: ask, token: (claims) => ask('token', claims), place: async () => true };
  window.play = (urls) => Promise.all(scenes.map(async ([name, act, expected, only], i) => {
    const scene = new Scene({ ...at, ...urls, tag: '${wire}' + i });
    try {
      return (only ?? at.wire) === at.wire ? await act(scene) : expected;
    } catch (error) {
      return [String(error)];
    } finally {
      scene.end();
    }
  }));
</script>`;

/** Serves the pages and the SDK; two names of this machine are two origins.  `ask` answers what a scene asks a backend. */
function serve(ask) {
  return new Promise((done) => {
    const server = createServer(async (request, response) => {
      const { pathname } = new URL(request.url, 'http://page');
      if (pathname.startsWith('/ask/')) {
        const body = await new Response(request).json();
        response.end(JSON.stringify(await ask(pathname.slice(5), body)));
        return;
      }
      const script = SCRIPTS[pathname];
      response.setHeader('Content-Type', script ? 'text/javascript' : 'text/html');
      response.end(script ? readFileSync(new URL(script, import.meta.url))
        : pathname.startsWith('/stage/') ? STAGE(pathname.slice(7)) : PAGE);
    }).listen(0, '127.0.0.1', () => done(server));
  });
}

test('a browser', { skip: !BROWSER && 'no Chromium here: apt-get install chromium, or set CHROMIUM' }, async (t) => {
  const server = await serve();
  t.after(() => server.close());
  const { port } = server.address();
  const gateway = new Gateway({ shards: 2, config: { client: { token: { hmac_secret_key: SECRET },
    allowed_origins: [`http://127.0.0.1:${port}`] } } });
  t.after(() => gateway.end());
  const [browser] = await Promise.all([new Browser().start(), gateway.start()]);
  t.after(() => browser.end());
  const begin = (run, user) => run(`begin(${JSON.stringify(gateway.url)}, ${JSON.stringify(token({ sub: user }))}, 'chat:browser')`);
  const here = await browser.open(`http://127.0.0.1:${port}/`);
  const there = await browser.open(`http://127.0.0.1:${port}/`);
  await Promise.all([begin(here, 'here'), begin(there, 'there')]);
  const both = (probe, what) => until(async () => await here(probe) && await there(probe), what);

  await t.test('connects, subscribes, publishes, receives', async () => {
    await both('seen.subscribed.length === 1', 'both pages are subscribed');
    await here('Promise.all([1, 2, 3, 4, 5].map((n) => subscription.publish({ n, text: "ü€😀" })))');
    await there('subscription.publish({ n: 6, text: "back" })');
    await both('seen.publications.length === 6', 'both pages have all');
    for (const run of [here, there]) {
      const publications = await run('seen.publications');
      assert.deepEqual(publications.map((p) => p.offset), range(1, 6));
      assert.equal(publications[0].data.text, 'ü€😀');
    }
    const { publications } = await there('subscription.history({ limit: 2, reverse: true })');
    assert.deepEqual(publications.map((p) => p.offset), [6, 5]);
  });

  await t.test('a restart of the gateway: told 3001, back by itself, nothing missed', async () => {
    assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
    await both('seen.states.at(-1).name === "connecting"', 'both pages noticed');
    assert.equal(await here('seen.states.at(-1).code'), 3001);
    await gateway.start({ shards: 3 });
    await gateway.ask('publish', { channel: 'chat:browser', data: { n: 7 } });
    await both('seen.publications.length === 7 && seen.subscribed.length === 2', 'both pages have what was sent meanwhile');
    assert.deepEqual((await here('seen.subscribed')).at(-1), { wasRecovering: true, recovered: true });
  });

  await t.test('kill -9: back by itself, nothing missed', async () => {
    await gateway.kill();
    await gateway.start({ shards: 2 });
    await gateway.ask('publish', { channel: 'chat:browser', data: { n: 8 } });
    await both('seen.publications.length === 8', 'both pages have what was sent meanwhile');
    assert.deepEqual((await there('seen.publications')).map((p) => p.offset), range(1, 8));
  });

  await t.test('a page of another origin is kept out', async () => {
    const foreign = await browser.open(`http://localhost:${port}/`);
    await begin(foreign, 'foreign');
    await until(() => foreign('seen.errors.length > 0'), 'it failed');
    assert.equal(await foreign('centrifuge.state'), 'connecting');
    await foreign('centrifuge.disconnect()');
  });
});

test('every command from a page, on both wires', { concurrency: true, skip: !BROWSER && 'no Chromium here' }, async (t) => {
  const gateway = new Gateway({ shards: 2 }), busy = new Gateway({ shards: 1 });
  const server = await serve((what, body) => (what === 'token' ? token(body) : gateway.api(what, body)));
  t.after(async () => { server.close(); await gateway.end(); await busy.end(); });
  const origin = `http://127.0.0.1:${server.address().port}`;
  const shared = { channel, storage: { engine: 'memory' } };
  const who = { token: { hmac_secret_key: SECRET }, allowed_origins: [origin] };
  gateway.options.config = { ...shared, client: { ...who, ...client } };
  busy.options.config = { ...shared, client: { ...who, ...busyClient } };
  const [browser] = await Promise.all([new Browser().start(), gateway.start(), busy.start()]);
  t.after(() => browser.end());
  await Promise.all(['json', 'protobuf'].map((wire) => t.test(wire, async () => {
    const run = await browser.open(`${origin}/stage/${wire}`);
    await until(() => run('typeof play === "function"'), 'the scenes are loaded');
    const played = await run(`play(${JSON.stringify({ url: gateway.url, busyUrl: busy.url })})`);
    scenes.forEach(([name, , expected], i) => assert.deepEqual(played[i], expected, name));
  })));
});
