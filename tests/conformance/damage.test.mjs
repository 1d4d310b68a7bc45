// The logs as a crash, a bad disk or a hand may leave them, under the real program: what
// nobody was told of is cut and reported, damage where acknowledged data stood refuses the
// start with file, place and way out, and mending the file brings everything back.
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { offsets, range } from './client.mjs';
import { Gateway, until } from './gateway.mjs';

const SECTOR = 512; // batches begin at multiples of it
const COUNT = 60, TEXT = 'x'.repeat(10000); // less than the first file of a log holds

/** Where the whole batches of a log file begin, in their order: an own reading of the layout. */
function batches(bytes) {
  const found = [];
  for (let at = 0; at + 40 <= bytes.length;) {
    const isHead = bytes.toString('latin1', at, at + 4) === 'SLB1';
    if (isHead) found.push({ at, size: Math.ceil((40 + bytes.readUInt32LE(at + 4)) / 8) * 8 });
    at += isHead ? found.at(-1).size : 8;
  }
  return found;
}

function crc32c(bytes) {
  let sum = ~0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let i = 0; i < 8; i++) sum = sum & 1 ? sum >>> 1 ^ 0x82f63b78 : sum >>> 1;
  }
  return ~sum >>> 0;
}

test('damaged logs', async (t) => {
  const gateway = new Gateway({ shards: 1 });
  t.after(() => gateway.end());
  const crash = join(gateway.dir, 'crash'), data = join(gateway.dir, 'data');
  const indexFiles = ['index.db', 'index.db-wal'];
  await gateway.start();
  // SQLite's commits are not synced: a power cut may leave the index as it was at the start.
  mkdirSync(crash);
  for (const name of indexFiles) cpSync(join(data, name), join(crash, name));
  const acked = [];
  for (let n = 1; n <= COUNT; n++)
    acked.push((await gateway.ask('publish', { channel: 'chat:a', data: { n, text: TEXT }, idempotency_key: `k${n}` })).offset);
  assert.deepEqual(acked, range(1, COUNT));
  const { epoch } = await gateway.ask('history', { channel: 'chat:a', limit: 0 });
  await gateway.kill();
  cpSync(join(data, 'log'), join(crash, 'log'), { recursive: true });
  cpSync(join(data, 'made'), join(crash, 'made'));
  const logs = readdirSync(join(crash, 'log')).sort();
  const whole = logs.map((name) => batches(readFileSync(join(crash, 'log', name))));
  assert.equal(whole[0].length, COUNT);

  const path = (name) => join(data, 'log', name);
  /** The directory after the crash, with one file changed; `acked`: what DIR/made knows to be
   *  acknowledged (storage/embed/made.h), which depends on how long the log was idle. */
  const damage = (name, change, acked = 0) => {
    rmSync(data, { recursive: true });
    cpSync(crash, data, { recursive: true });
    const made = readFileSync(join(data, 'made'));
    for (const half of [0, made.length / 2]) {
      made.writeBigUInt64LE(BigInt(acked), half + 40);
      made.writeUInt32LE(crc32c(made.subarray(half, half + 52)), half + 52);
    }
    writeFileSync(join(data, 'made'), made);
    const bytes = readFileSync(path(name));
    change(bytes);
    writeFileSync(path(name), bytes);
  };
  const holds = async (count) => {
    const from = gateway.log.length;
    await gateway.start({ shards: 1 + count % 3 });
    const all = await gateway.ask('history', { channel: 'chat:a', limit: -1 });
    assert.deepEqual(offsets(all.publications), range(1, count));
    assert.deepEqual(all.publications.map((p) => p.data.n), range(1, count));
    assert.deepEqual([all.offset, all.epoch], [count, epoch]);
    const again = await gateway.ask('publish', { channel: 'chat:a', data: 'again', idempotency_key: `k${count}` });
    assert.equal(again.offset, count);
    assert.equal((await gateway.ask('publish', { channel: 'chat:a', data: {} })).offset, count + 1);
    await gateway.kill();
    return gateway.log.slice(from);
  };
  const refuses = async (name, place) => {
    const told = new RegExp(`"code":1[^]*error log is damaged where acknowledged data stood; restore the data directory ` +
      `from a backup, or move the files of log \\w+ from this one on [^\\n]* file=\\S*${name} offset=${place} `);
    await assert.rejects(gateway.start(), told);
  };

  await t.test('nothing is damaged', async () => {
    damage(logs[0], () => {});
    const said = await holds(COUNT);
    assert.match(said, /recovery is done files=\d+ batches=60 /);
  });

  await t.test('half a batch at the end is cut', async () => {
    const last = whole[0].at(-1), torn = Math.ceil((last.at + last.size) / SECTOR) * SECTOR;
    damage(logs[0], (bytes) => {
      bytes.copy(bytes, torn, last.at, last.at + 4000);
      bytes.writeBigUInt64LE(bytes.readBigUInt64LE(torn + 16) + 1n, torn + 16);
    });
    assert.match(await holds(COUNT), new RegExp(`warn log ends in a batch that was not written whole, it is cut file=\\S*${logs[0]} offset=${torn} `));
  });

  await t.test('a last batch that was not written whole is cut', async () => {
    const { at, size } = whole[0].at(-1), cut = /warn log ends in a batch that was not written whole, it is cut/;
    damage(logs[0], (bytes) => bytes.fill(0, at + size - 512));
    assert.match(await holds(COUNT - 1), cut);
    damage(logs[0], () => {});
    truncateSync(path(logs[0]), at + 100);
    assert.match(await holds(COUNT - 1), cut);
  });

  await t.test('a last batch that was acknowledged is not cut', async () => {
    const { at, size } = whole[0].at(-1);
    const refused = (file, place) => assert.rejects(gateway.start(), new RegExp(`"code":1[^]*error log ends before what was ` +
      `acknowledged; restore the data directory from a backup, or make an empty file accept-loss in it[^\\n]* file=\\S*${file} ` +
      `offset=${place} batch=${COUNT} acknowledged=${COUNT}`));
    damage(logs[0], (bytes) => { bytes[at + 100] ^= 4; }, COUNT);
    await refused(logs[0], at);
    damage(logs[0], (bytes) => bytes.fill(0, at, at + size), COUNT);
    await refused(logs[0], at);
    damage(logs[0], () => {}, COUNT);
    truncateSync(path(logs[0]), at);
    await refused(logs[0], at);
    damage(logs[0], () => {}, COUNT);
    await holds(COUNT);
  });

  await t.test('a record of the log files in zeroes refuses', async () => {
    damage(logs[0], () => {});
    writeFileSync(join(data, 'made'), Buffer.alloc(readFileSync(join(data, 'made')).length));
    await assert.rejects(gateway.start(), /"code":1[^]*error record of the log files is damaged; [^\n]* file=\S*made offset=0/);
  });

  await t.test('a flipped bit anywhere before the end refuses, mended it starts', async () => {
    for (const [number, byte] of [[0, 45], [7, 17], [30, 26], [COUNT - 2, 9000]]) {
      const { at } = whole[0][number];
      damage(logs[0], (bytes) => { bytes[at + byte] ^= 4; });
      await refuses(logs[0], at);
      const bytes = readFileSync(path(logs[0]));
      bytes[at + byte] ^= 4;
      writeFileSync(path(logs[0]), bytes);
    }
    await holds(COUNT);
  });

  await t.test('a hole of zeroes refuses, and a damaged head of the file', async () => {
    const { at } = whole[0][5];
    damage(logs[0], (bytes) => bytes.fill(0, at, whole[0][7].at));
    await refuses(logs[0], at);
    damage(logs[0], (bytes) => { bytes[20] ^= 1; });
    await refuses(logs[0], 0);
  });

  await t.test('files that are gone refuse the start; the way out gives a new epoch', async () => {
    const missed = new RegExp(`"code":1[^]*error log file is missing, [^\\n]* make an empty file accept-loss in it[^\\n]* file=\\S*${logs[0]}`);
    // All of them, and what the start says about one that is damaged.
    damage(logs[0], () => {});
    rmSync(join(data, 'log'), { recursive: true });
    await assert.rejects(gateway.start(), missed);
    damage(logs[0], (bytes) => { bytes[whole[0][9].at + 50] ^= 4; });
    await refuses(logs[0], whole[0][9].at);
    renameSync(path(logs[0]), join(gateway.dir, 'moved.log'));
    await assert.rejects(gateway.start(), missed);
    const accept = join(data, 'accept-loss');
    writeFileSync(accept, '');
    const from = gateway.log.length;
    await gateway.start();
    assert.equal(existsSync(accept), false);
    assert.match(gateway.log.slice(from), /warn loss is accepted by accept-loss, publications may be gone, every channel gets a new epoch/);
    await gateway.ask('publish', { channel: 'chat:a', data: {} });
    const after = await gateway.ask('history', { channel: 'chat:a', limit: 0 });
    assert.equal(after.offset, 1);
    assert.notEqual(after.epoch, epoch);
    await gateway.kill();
    await gateway.start(); // the loss is told once
    assert.equal((await gateway.ask('history', { channel: 'chat:a', limit: 0 })).epoch, after.epoch);
    await gateway.kill();
  });

  await t.test('a changed bit in the index is an error, never an answer', async () => {
    damage(logs[0], () => {});
    await gateway.start();
    await gateway.stop();
    const index = join(data, 'index.db'), bytes = readFileSync(index);
    const at = bytes.indexOf(TEXT.slice(0, 3000));
    assert.ok(at > 4096);
    const flip = () => { bytes[at + 1000] ^= 1; writeFileSync(index, bytes); };
    flip();
    await gateway.start();
    const { error } = await gateway.api('history', { channel: 'chat:a', limit: -1 });
    assert.equal(error.code, 100);
    const health = await (await fetch(`${gateway.http}/health`)).json();
    assert.match(health.store.detail, /the index is damaged; restore the data directory from a backup/);
    assert.match(gateway.log, /error page of the index is not what was written; restore the data directory from a backup file=\S*index\.db offset=\d+/);
    await gateway.kill();
    flip();
    await holds(COUNT);
  });

  await t.test('what the index has is not missed', async () => {
    rmSync(data, { recursive: true });
    await gateway.start();
    for (let n = 1; n <= 20; n++) await gateway.ask('publish', { channel: 'chat:a', data: { n } });
    await until(async () => await gateway.metric('store_index_lag_bytes') === 0, 'the index has everything');
    await gateway.kill();
    const [name] = readdirSync(join(data, 'log')).sort();
    const bytes = readFileSync(path(name));
    bytes[batches(bytes)[0].at + 50] ^= 4;
    writeFileSync(path(name), bytes);
    const from = gateway.log.length;
    await gateway.start();
    const all = await gateway.ask('history', { channel: 'chat:a', limit: -1 });
    assert.deepEqual(offsets(all.publications), range(1, 20));
    assert.deepEqual(gateway.log.slice(from).match(/error .*/g), null);
  });
});
