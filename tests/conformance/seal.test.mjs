// A gateway with storage.key: killed, started again, copied, given another key; no file ever
// shows what was published.
import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { connect, range, subscribe } from './client.mjs';
import { Gateway, until } from './gateway.mjs';
import { Redis } from './redis.mjs';

const A = 'a1'.repeat(32), B = 'b2'.repeat(32);
const WHISPER = 'nobody else should read this';

const files = (dir) => readdirSync(dir, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath ?? entry.path, entry.name));
const shows = (dir) => files(dir).filter((file) => readFileSync(file).includes(WHISPER));

/** A gateway on its own data directory, with these options of the store. */
function sealed(t, storage) {
  const gateway = new Gateway();
  t.after(() => gateway.end());
  const data = join(gateway.dir, 'data');
  const give = (options) => { gateway.options.config = { storage: { engine: 'embedded', path: data, ...options } }; };
  give(storage);
  return { gateway, data, give };
}

const publish = async (gateway, from, to) => {
  for (let n = from; n <= to; n++)
    await gateway.ask('publish', { channel: 'chat:vault', data: { n, text: WHISPER }, tags: { t: WHISPER } });
};
const held = async (gateway) => {
  const { publications } = await gateway.ask('history', { channel: 'chat:vault', limit: -1 });
  assert.ok(publications.every((p) => p.data.text === WHISPER && p.tags.t === WHISPER));
  return publications.map((p) => p.data.n);
};
/** Fails to start, and says why. */
async function refused(gateway, shards, why) {
  await assert.rejects(gateway.start({ shards }));
  assert.match(gateway.log, why);
}

test('killed at any number of shards, nothing lost and nothing shown', async (t) => {
  const { gateway, data } = sealed(t, { key: A });
  await gateway.start({ shards: 1 });
  let next = 1;
  for (const shards of [4, 2]) {
    await publish(gateway, next, next + 29);
    next += 30;
    assert.deepEqual(shows(data), []);
    await gateway.kill();
    assert.deepEqual(shows(data), []);
    await gateway.start({ shards });
    assert.deepEqual(await held(gateway), range(1, next - 1));
  }
  assert.ok(files(data).some((file) => readFileSync(file).includes('chat:vault')), 'we look at the right files');
});

test('a key that is missing is asked for; another one takes over', async (t) => {
  const { gateway, data, give } = sealed(t, { key: A });
  await gateway.start({ shards: 1 });
  await publish(gateway, 1, 10);
  await gateway.stop();
  give({});
  await refused(gateway, 1, /sealed with a key that is not configured; give that one as storage\.key/);
  give({ key: B });
  await refused(gateway, 1, /key_id=[0-9a-f]{16} configured=1 first_key_id=[0-9a-f]{16}/);
  assert.ok(!gateway.log.includes(A) && !gateway.log.includes(B), 'no key is in the log');

  const file = join(gateway.dir, 'keys');
  writeFileSync(file, `${B}\n${A}\n`);
  give({ key_file: file });
  await gateway.start({ shards: 2 });
  await publish(gateway, 11, 20);
  assert.deepEqual(await held(gateway), range(1, 20));
  await gateway.stop();
  assert.deepEqual(shows(data), []);

  // A copy of the directory goes its own way under the same keys.
  const copy = join(gateway.dir, 'copy');
  cpSync(data, copy, { recursive: true });
  rmSync(join(copy, 'lock'), { force: true });
  give({ key_file: file, path: copy });
  await gateway.start({ shards: 1 });
  assert.deepEqual(await held(gateway), range(1, 20));
  assert.deepEqual(shows(copy), []);
});

test('two gateways over Redis read what the other sealed', async (t) => {
  const redis = await new Redis().start();
  t.after(() => redis.end());
  const options = (key) => ({ config: { storage: { engine: 'redis', key }, redis: redis.options } });
  const here = new Gateway(options(A)), there = new Gateway(options(A)), stranger = new Gateway(options(B));
  const late = new Gateway(options(B));
  for (const gateway of [here, there, stranger, late]) t.after(() => gateway.end());
  await here.start({ shards: 2 });
  await there.start({ shards: 1 });
  await stranger.start({ shards: 1 }); // nothing is sealed yet
  const bob = await connect(there, 'bob');
  t.after(() => bob.centrifuge.disconnect());
  const feeds = [await subscribe(bob, 'chat:vault'), await subscribe(bob, 'live:vault')];
  await publish(here, 1, 20);
  await here.ask('publish', { channel: 'live:vault', data: { text: WHISPER } });
  await until(() => feeds[0].publications.length === 20 && feeds[1].publications.length === 1, 'all arrived');
  for (const feed of feeds) assert.ok(feed.publications.every((p) => p.data.text === WHISPER));
  await here.stop();
  assert.deepEqual(await held(there), range(1, 20));
  assert.deepEqual(shows(redis.dir), []);

  await refused(late, 1, /sealed with a key that is not configured; give every node that one as storage\.key/);
  await assert.rejects(stranger.ask('history', { channel: 'chat:vault', limit: -1 }));
  await until(() => /sealed with a key that is not configured; give every node the same keys/.test(stranger.log), 'it says so');
  const { store } = await (await fetch(`${stranger.http}/health`)).json();
  assert.equal(store.ok, false);
  assert.match(store.detail, /sealed with a key that is not configured here/);
});
