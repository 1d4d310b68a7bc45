// sluice backup: a copy of a gateway at work, started on; and what it says when it cannot be.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { away, connect, offsets, range, subscribe } from './client.mjs';
import { BINARY, Gateway, until } from './gateway.mjs';

/** The command; resolves with its exit code and what it printed. */
function backup(dir, ...args) {
  const child = spawn(BINARY, ['backup', dir, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const call = { out: '', err: '' };
  child.stdout.on('data', (bytes) => { call.out += bytes; });
  child.stderr.on('data', (bytes) => { call.err += bytes; });
  return new Promise((done) => child.once('close', (code) => done({ ...call, code })));
}

async function scenario(t, storage) {
  const gateway = new Gateway();
  t.after(() => gateway.end());
  const data = join(gateway.dir, 'data'), copy = join(gateway.dir, 'copies', 'monday');
  const give = (path) => { gateway.options.config = { storage: { engine: 'embedded', path, ...storage } }; };
  give(data);
  await gateway.start({ shards: 2 });
  const file = join(gateway.dir, 'config.json');
  const rooms = range(1, 8).map((n) => `chat:${n}`), sent = Object.fromEntries(rooms.map((room) => [room, 0]));
  const publish = async (room) => {
    const { offset } = await gateway.ask('publish', { channel: room, data: { n: sent[room] + 1 } });
    assert.equal(offset, ++sent[room]);
  };
  for (let i = 0; i < 20; i++) await Promise.all(rooms.map(publish));

  // Publications go on until the copy is complete.
  const before = { ...sent };
  let isOver = false;
  const asked = backup(copy, '--config', file).finally(() => { isOver = true; });
  while (!isOver) await Promise.all(rooms.map(publish));
  const { code, out, err } = await asked;
  assert.deepEqual([code, err.replace(/sluice: copied \d+ of \d+ MiB\n/g, '')], [0, ''], err);
  assert.match(out, new RegExp(`^${copy}: complete, \\d+ MiB and \\d+ log files with \\d+ bytes\n$`));
  assert.deepEqual(readdirSync(copy).sort(), ['index.db', 'log']);

  // Someone who was connected to the original meets the copy.
  const ann = await connect(gateway, 'ann');
  t.after(() => ann.centrifuge.disconnect());
  const feed = await subscribe(ann, 'chat:1');
  await publish('chat:1');
  await until(() => feed.publications.length > 0, 'she hears the original');
  await away(ann, async () => {
    await gateway.stop();
    give(copy);
    await gateway.start({ shards: 3 });
  });
  await until(() => feed.subscribed.length > 1, 'she is subscribed again');
  assert.equal(feed.subscribed.at(-1).recovered, false, 'a copy is no continuation of what she saw');
  for (const room of rooms) {
    const { publications, offset } = await gateway.ask('history', { channel: room, limit: -1 });
    assert.deepEqual(offsets(publications), range(1, offset));
    assert.deepEqual(publications.map((p) => p.data.n), range(1, offset));
    assert.ok(offset >= before[room] && offset <= sent[room], `${before[room]} <= ${offset} <= ${sent[room]}`);
    sent[room] = offset;
    await publish(room);
  }
  assert.ok(gateway.log.includes('backup is started for the first time'));
}

test('a copy of a gateway at work', (t) => scenario(t, {}));
test('a sealed one', (t) => scenario(t, { key: 'c3'.repeat(32) }));

test('what it says when it cannot be', async (t) => {
  const gateway = new Gateway();
  t.after(() => gateway.end());
  await gateway.start({ shards: 1 });
  const data = join(gateway.dir, 'data'), copy = join(gateway.dir, 'copy');
  const again = await backup(data, '--data', data);
  assert.deepEqual([again.code, again.out], [1, '']);
  assert.match(again.err, /index\.db is there already/);
  assert.match((await backup('/proc/x', '--data', data)).err, /cannot be made/);
  const none = await backup('', '--data', data);
  assert.deepEqual([none.code, none.out], [2, '']);
  assert.match(none.err, /wants the directory to make/);
  const link = join(gateway.dir, 'link');
  symlinkSync(join(data, 'log'), link);
  const inside = [join(data, 'inside'), join(data, 'log', '..', 'a', 'b'), join(link, 'c')];
  const refused = async () => {
    for (const path of inside) {
      const { code, out, err } = await backup(path, '--data', data);
      assert.deepEqual([code, out], [1, '']);
      assert.match(err, /inside the data directory/);
    }
    assert.deepEqual(readdirSync(data).filter((name) => !/^(index\.db(-wal)?|lock|log|made|backup\.status)$/.test(name)), []);
  };
  await refused();
  assert.equal((await backup(copy, '--data', data)).code, 0);
  assert.match((await backup(copy, '--data', data)).err, /is there already/);
  await gateway.stop();
  await refused();
  assert.match((await backup(`${copy}2`, '--data', join(data, 'none'))).err, /nothing is stored there/);
  assert.ok(!existsSync(join(data, 'backup.request')) && !existsSync(`${copy}2`) && !existsSync(join(data, 'none')));
});

test('of several at once each is complete, or told that another is under way', async (t) => {
  const gateway = new Gateway();
  t.after(() => gateway.end());
  await gateway.start({ shards: 1 });
  const data = join(gateway.dir, 'data');
  const all = await Promise.all(range(1, 4).map((n) => backup(join(gateway.dir, `copy${n}`), '--data', data)));
  assert.ok(all.some(({ code }) => code === 0));
  for (const [n, { code, out, err }] of all.entries()) {
    assert.match(code === 0 ? out : err, code === 0 ? /: complete, / : /another backup of it is under way/);
    assert.equal(existsSync(join(gateway.dir, `copy${n + 1}`, 'index.db')), code === 0);
  }
  assert.equal((await backup(join(gateway.dir, 'later'), '--data', data)).code, 0);
});

for (const how of ['stop', 'kill']) test(`a copy after a ${how}, put back later, parts from what it lacks`, async (t) => {
  const gateway = new Gateway();
  t.after(() => gateway.end());
  const data = join(gateway.dir, 'data'), copy = join(gateway.dir, 'copy');
  const give = (path) => { gateway.options.config = { storage: { engine: 'embedded', path } }; };
  give(data);
  await gateway.start({ shards: 2 });
  for (let n = 1; n <= 50; n++) await gateway.ask('publish', { channel: 'chat:1', data: { n } });
  const { epoch } = await gateway.ask('history', { channel: 'chat:1', limit: 0 });
  await gateway[how]();
  const { code, out, err } = await backup(copy, '--data', data);
  assert.deepEqual([code, err], [0, '']);
  assert.match(out, new RegExp(`^${copy}: complete, \\d+ MiB and \\d+ log files with \\d+ bytes\n$`));
  assert.deepEqual(readdirSync(copy).sort(), ['index.db', 'log']);
  assert.match((await backup(copy, '--data', data)).err, /is there already/);

  // The original goes on as it was; the copy has everything up to it, and another epoch.
  await gateway.start({ shards: 2 });
  const { offset, epoch: same } = await gateway.ask('publish', { channel: 'chat:1', data: { n: 51 } });
  assert.deepEqual([offset, same], [51, epoch]);
  await gateway.stop();
  give(copy);
  await gateway.start({ shards: 3 });
  const history = await gateway.ask('history', { channel: 'chat:1', limit: -1 });
  assert.deepEqual(history.publications.map((p) => p.data.n), range(1, 50));
  assert.notEqual(history.epoch, epoch);
});
