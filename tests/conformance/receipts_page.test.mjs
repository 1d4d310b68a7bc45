// Read receipts as a person sees them: a page in headless Chromium, others on the SDK.
// PICTURE=file.png keeps what it looks like in the end.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import test from 'node:test';
import { BROWSER, Browser } from './browser.mjs';
import { connect } from './client.mjs';
import { Gateway, SECRET, sleep, token, until } from './gateway.mjs';

const FILES = { '/': ['pages/receipts.html', 'text/html'], '/receipts.js': ['pages/receipts.js', 'text/javascript'],
  '/json.js': ['node_modules/centrifuge/dist/centrifuge.js', 'text/javascript'] };
const CHANNEL = 'chat:lunch';

const serve = () => new Promise((done) => {
  const server = createServer((request, response) => {
    const [path, type] = FILES[request.url] ?? [];
    response.writeHead(path ? 200 : 404, { 'Content-Type': type ?? 'text/plain' });
    response.end(path && readFileSync(new URL(path, import.meta.url)));
  }).listen(0, '127.0.0.1', () => done(server));
});

test('receipts in a page', { skip: !BROWSER && 'no Chromium here' }, async (t) => {
  const server = await serve();
  t.after(() => server.close());
  const origin = `http://127.0.0.1:${server.address().port}`;
  const gateway = new Gateway({ shards: 2, config: {
    client: { token: { hmac_secret_key: SECRET }, allowed_origins: [origin] } } });
  t.after(() => gateway.end());
  const [browser] = await Promise.all([new Browser().start(), gateway.start()]);
  t.after(() => browser.end());
  await gateway.ask('members_set', { channel: CHANNEL, users: ['Ada', 'Ben', 'Cleo', 'Dan'] });
  const others = await Promise.all(['Ben', 'Cleo', 'Dan'].map((user) => connect(gateway, user)));
  t.after(() => others.forEach(({ centrifuge }) => centrifuge.disconnect()));
  const [ben, cleo] = others.map(({ centrifuge }) => async (method, data) =>
    (await centrifuge.rpc(method, { channel: CHANNEL, ...data })).data);
  const open = async (user) => {
    const run = await browser.open(`${origin}/`);
    await run.size(560, 640);
    await run(`begin(${JSON.stringify({ url: gateway.url, token: token({ sub: user }), user, channel: CHANNEL })})`);
    await until(() => run('page.isReady'), 'the page is ready');
    return run;
  };
  const ada = await open('Ada');
  const lines = () => ada('[...document.querySelectorAll(".mine .receipt")].map((line) => line.innerText.replace(/\\s+/g, " ").trim())');
  const shows = (expected) => until(async () => JSON.stringify(await lines()) === JSON.stringify(expected),
    `the page shows ${JSON.stringify(expected)}`).catch(async (error) => { throw new Error(`${error.message}, not ${JSON.stringify(await lines())}`); });

  await t.test('a count stands under what one wrote, and moves by itself', async () => {
    await ada('document.querySelector("input").value = "Who comes along for lunch?", document.querySelector("form").requestSubmit()');
    await shows(['Read by 0 of 3']);
    await ben('receipt.read', { offset: 1 });
    await shows(['B Read by 1 of 3']);
    await ben('message.send', { data: { text: 'Me! The new place at the river?' } });
    await cleo('receipt.view', {});
    await shows(['BC Read by 2 of 3'].map((line) => line.replace('BC', 'B C')));
  });

  await t.test('a click lists who has, and who has not', async () => {
    await ada('document.querySelector(".mine .receipt").click()');
    await until(() => ada('document.querySelector("dialog").open'), 'the list is open');
    const names = (id) => ada(`[...document.querySelectorAll("#${id} li")].map((row) => row.childNodes[1].textContent)`);
    assert.deepEqual((await names('readers')).sort(), ['Ben', 'Cleo']);
    assert.deepEqual(await names('nonreaders'), ['Dan']);
    const times = (id) => ada(`[...document.querySelectorAll("#${id} time")].map((time) => time.textContent)`);
    const minutes = await ada(`Array.from({ length: 9 }, (_, back) => new Date(Date.now() - back * 60000)
      .toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }))`);
    const read = await times('readers');
    assert.equal(read.length, 2);
    for (const time of read) assert.ok(minutes.includes(time), `${time} is a minute ago, as ${minutes}`);
    assert.deepEqual(await times('nonreaders'), ['']);
    if (process.env.PICTURE) writeFileSync(process.env.PICTURE.replace('.png', '_list.png'), await ada.picture());
    await ada('document.querySelector("dialog").close()');
  });

  await t.test('what scrolls by is posted seldom, and the newest only', async () => {
    const before = await ada('page.posts');
    for (const text of ['They have:', 'lentil soup', 'fish of the day', 'a curry, mild', 'the same, not mild', 'dumplings', 'bread and olives',
      'salad for the brave', 'pancakes', 'ice cream', 'coffee', 'and a table for four']) {
      await ben('message.send', { data: { text } });
      await sleep(20);
    }
    await until(async () => await ada('page.read') === 14, 'the last one is read');
    assert.ok(await ada('page.posts') - before <= 6, 'twelve messages are not twelve posts');
    assert.deepEqual((await ben('receipt.counts', { offsets: [14] })).counts, [1]);
  });

  await t.test('reading on another device is seen here', async () => {
    const phone = await open('Ada');
    await phone('document.querySelector("input").value = "See you at noon then", document.querySelector("form").requestSubmit()');
    await shows(['B C Read by 2 of 3', 'Read by 0 of 3']);
    await cleo('receipt.view', {});
    await ben('receipt.view', {});
    await shows(['B C Read by 2 of 3', 'B C Read by 2 of 3']);
    assert.equal(await ada('page.unread'), 0);
  });
  if (process.env.PICTURE) writeFileSync(process.env.PICTURE, await ada.picture());
});
