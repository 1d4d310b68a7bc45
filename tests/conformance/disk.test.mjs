// A disk that is full, one on which writes fail, and a data directory that goes away, under the
// real program: what is refused and with which word, that reads and listeners go on, what /health
// says, and what the next start finds: everything that was acknowledged, and nothing else.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { connect, offsets, range, subscribe } from './client.mjs';
import { Gateway, until } from './gateway.mjs';

const health = async (gateway) => {
  const answer = await fetch(`${gateway.http}/health`);
  return { status: answer.status, store: (await answer.json()).store };
};

/** Publishes until it is refused; how many were taken. */
async function fill(gateway, channel, data, first) {
  for (let n = first; ; n++) {
    const { result, error } = await gateway.api('publish', { channel, data: { n, data }, idempotency_key: `${channel}${n}` });
    if (error) return { count: n - first, error };
    assert.equal(result.offset, n);
  }
}

async function holds(gateway, channel, count) {
  const all = await gateway.ask('history', { channel, limit: -1 });
  assert.deepEqual(offsets(all.publications), range(1, count));
  assert.deepEqual(all.publications.map((p) => p.data.n), range(1, count));
}

/** A small file system of its own. */
class SmallDisk {
  constructor(dir) { this.data = join(dir, 'data'); }

  /** Null, or why there can be none. */
  setup(option = 'size=10m') {
    mkdirSync(this.data, { recursive: true });
    if (process.getuid() !== 0 || !existsSync('/usr/bin/mount')) return 'needs root';
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', option, 'none', this.data], { stdio: 'ignore' });
      return null;
    } catch {
      return 'no file system may be mounted here';
    }
  }
  /** Lazily: of a process that ended a moment ago the kernel may still close files. */
  unmount() { execFileSync('umount', ['-l', this.data]); }
}

/** A gateway that runs on a disk of its own, {gateway, disk}; null when there can be none. */
async function onDisk(t, Disk) {
  const gateway = new Gateway({ shards: 1 }), disk = new Disk(gateway.dir), why = disk.setup();
  t.after(async () => {
    if (gateway.child?.exitCode === null) await gateway.kill();
    if (!why) disk.unmount();
    await gateway.end();
  });
  if (why) return t.skip(why), null;
  await gateway.start();
  return { gateway, disk };
}

/** Bob, and what he hears of a channel. */
async function bobHears(t, gateway, channel) {
  const bob = await connect(gateway, 'bob');
  t.after(() => bob.centrifuge.disconnect());
  return subscribe(bob, channel);
}

/** In ever smaller pieces, until nothing fits; the file that did it. */
function stuff(disk) {
  const filler = join(disk.data, 'filler');
  const file = openSync(filler, 'w'), chunk = Buffer.alloc(1 << 16);
  for (let size = chunk.length; size >= 512; size /= 2)
    for (;;) try { if (writeSync(file, chunk, 0, size) < size) break; } catch { break; }
  closeSync(file);
  return filler;
}

test('a full disk refuses, and goes on when there is room', async (t) => {
  const { gateway, disk } = await onDisk(t, SmallDisk) ?? {};
  if (!gateway) return;
  const feed = await bobHears(t, gateway, 'chat:a');
  await gateway.ask('publish', { channel: 'chat:a', data: { n: 1 }, idempotency_key: 'first' });
  const filler = stuff(disk);

  const { count, error } = await fill(gateway, 'chat:a', 'x'.repeat(30000), 2);
  const head = 1 + count;
  assert.equal(error.code, 100);
  const red = await health(gateway);
  assert.equal(red.status, 503);
  assert.match(red.store.detail, /make room on the disk/);
  await holds(gateway, 'chat:a', head);
  await until(() => feed.publications.length === head, 'what was acknowledged was delivered, nothing more');

  unlinkSync(filler);
  await until(async () => (await health(gateway)).status === 200, 'health is green again, though nobody publishes');
  const after = await until(async () => (await gateway.api('publish', { channel: 'chat:a', data: { n: head + 1 }, idempotency_key: 'after' })).result, 'there is room');
  assert.equal(after.offset, head + 1);
  await until(() => feed.publications.length === head + 1, 'bob heard it');
  await gateway.kill();
  await gateway.start({ shards: 2 });
  await holds(gateway, 'chat:a', head + 1);
  assert.equal((await gateway.ask('publish', { channel: 'chat:a', data: {}, idempotency_key: 'after' })).offset, head + 1);
});

test('a start on a full disk says so', async (t) => {
  const { gateway, disk } = await onDisk(t, SmallDisk) ?? {};
  if (!gateway) return;
  await gateway.ask('publish', { channel: 'chat:a', data: { n: 1 } });
  await gateway.kill();
  const filler = stuff(disk);
  await assert.rejects(gateway.start(), /"code":1[^]*error disk of the data directory is full; make room and start again path=\S+ free_kib=\d/);
  unlinkSync(filler);
  await gateway.start();
  await holds(gateway, 'chat:a', 1);
});

test('a start on a disk without room for a file more says so', async (t) => {
  const gateway = new Gateway({ shards: 1 });
  t.after(() => gateway.end());
  for (const files of [2, 4, 5]) {
    const disk = new SmallDisk(gateway.dir), why = disk.setup(`nr_inodes=${files}`);
    if (why) return t.skip(why);
    try {
      await assert.rejects(gateway.start(), /"code":1[^]*error disk of the data directory is full, of bytes, of files or of what this user may have; make room and start again path=\S+data free_kib=\d+/);
    } finally {
      disk.unmount();
    }
  }
});

test('a data directory that is moved away under it: red, refused, and whole when it is put back', async (t) => {
  const gateway = new Gateway(), data = join(gateway.dir, 'data'), away = join(gateway.dir, 'away');
  t.after(() => gateway.end());
  await gateway.start();
  for (let n = 1; n <= 5; n++) await gateway.ask('publish', { channel: 'chat:a', data: { n } });
  assert.equal((await health(gateway)).status, 200);
  renameSync(data, away);
  let found;
  await until(async () => (found = await health(gateway)).status === 503, 'health is red');
  assert.match(JSON.stringify(found.store), /data directory, or a file in it, was removed, moved or replaced; stop, put it back or restore a backup, and start: \S*data\/lock/);
  for (const channel of ['chat:a', 'chat:b', 'chat:c']) {
    const { error } = await gateway.api('publish', { channel, data: { n: 6 }, idempotency_key: 'k' });
    assert.ok(error, `${channel} is refused`);
  }
  assert.match(gateway.log, /error shard=\d data directory, or a file in it, was removed, moved or replaced while in use/);
  await gateway.stop();
  renameSync(away, data);
  await gateway.start();
  await holds(gateway, 'chat:a', 5);
});

test('writes that fail: their shard refuses until a restart, others and reads go on', async (t) => {
  if (!existsSync('/usr/bin/prlimit')) return t.skip('needs prlimit');
  const gateway = new Gateway({ shards: 4 });
  t.after(() => gateway.end());
  await gateway.start();
  const limit = (size) => execFileSync('prlimit', ['--pid', String(gateway.child.pid), `--fsize=${size}:unlimited`]);
  const feed = await bobHears(t, gateway, 'chat:full');
  // Writes behind the first 200 kB of a file fail: of this log, not of one with little in it.
  const data = 'x'.repeat(30000);
  for (let n = 1; n <= 10; n++)
    await gateway.ask('publish', { channel: 'chat:full', data: { n, data }, idempotency_key: `chat:full${n}` });
  // A channel of another shard: its log is another file.
  const logs = () => readdirSync(join(gateway.dir, 'data', 'log')).map((name) => name.split('-')[1]);
  const before = new Set(logs());
  let other;
  for (let i = 0; !other; i++) {
    await gateway.ask('publish', { channel: `chat:other${i}`, data: { n: 1 } });
    if (logs().some((shard) => !before.has(shard))) other = `chat:other${i}`;
  }
  await until(async () => await gateway.metric('store_index_lag_bytes') === 0, 'the index has everything');
  limit(200000);
  const unknown = await gateway.api('publish', { channel: 'chat:full', data: { n: 11, data }, idempotency_key: 'chat:full11' });
  assert.deepEqual(unknown.error, { code: 100, message: 'unknown outcome, retry with the same key' });
  const refused = await gateway.api('publish', { channel: 'chat:full', data: { n: 11 } });
  assert.deepEqual(refused.error, { code: 100, message: 'store refuses writes' });
  // Its key stays refused here, never a definitive no.
  const again = await gateway.api('publish', { channel: 'chat:full', data: { n: 11, data }, idempotency_key: 'chat:full11' });
  assert.equal(again.error.message, 'unknown outcome, retry with the same key');
  assert.equal((await gateway.ask('publish', { channel: other, data: { n: 2 } })).offset, 2);
  const red = await health(gateway);
  assert.equal(red.status, 503);
  assert.match(red.store.detail, /a write to the log failed; mend the disk and restart/);
  await holds(gateway, 'chat:full', 10);
  await holds(gateway, other, 2);
  const carol = await connect(gateway, 'carol');
  t.after(() => carol.centrifuge.disconnect());
  const late = await subscribe(carol, 'chat:full', { since: { offset: 3, epoch: feed.subscribed[0].streamPosition.epoch } });
  await until(() => late.publications.length === 7, 'carol recovers what she missed');
  assert.equal(late.subscribed[0].recovered, true);
  assert.deepEqual(offsets(feed.publications), range(1, 10), 'nobody saw what was not durable');

  // With the disk mended this shard still refuses: only a restart knows what is on it.
  limit('unlimited');
  assert.equal((await gateway.api('publish', { channel: 'chat:full', data: { n: 11 } })).error.message, 'store refuses writes');
  await gateway.stop();
  await gateway.start({ shards: 3 });
  assert.equal((await health(gateway)).status, 200);
  await holds(gateway, 'chat:full', 10);
  await holds(gateway, other, 2);
  const answer = await gateway.ask('publish', { channel: 'chat:full', data: { n: 11, data }, idempotency_key: 'chat:full11' });
  assert.equal(answer.offset, 11);
  await until(() => feed.publications.length === 11, 'bob came back and heard it');
});

/** A file system on a device whose own file system is shut down at will: from then on
 *  writes are still taken, and their sync says EIO.  The log's syncs go to the kernel by
 *  io_uring, past every library that could answer in its place, so the device has to fail.
 *  Mounted again it is a disk that was mended. */
class Device {
  constructor(dir) {
    this.dir = dir;
    this.below = join(dir, 'below');
    this.data = join(dir, 'data');
    for (const path of [this.below, this.data]) mkdirSync(path);
  }

  run(command, ...args) {
    execFileSync(command, args, { stdio: 'ignore', env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } });
  }
  make(image, size) {
    this.run('truncate', '-s', size, image);
    this.run('mkfs.ext4', '-q', '-O', '^has_journal', image);
  }
  mount() {
    this.run('mount', '-o', 'loop', join(this.dir, 'below.img'), this.below);
    if (!existsSync(join(this.below, 'data.img'))) this.make(join(this.below, 'data.img'), '64m');
    this.run('mount', '-o', 'loop', join(this.below, 'data.img'), this.data);
  }
  unmount() {
    for (const path of [this.data, this.below]) try { this.run('umount', path); } catch { /* it was not mounted */ }
  }

  /** Null, or why there can be none. */
  setup() {
    if (process.getuid() !== 0) return 'needs root';
    try {
      this.make(join(this.dir, 'below.img'), '96m');
      this.mount();
      return null;
    } catch {
      this.unmount();
      return 'no device may be made here';
    }
  }
  fail() {
    // EXT4_IOC_SHUTDOWN without a flush: nothing reaches the device any more.
    const shutdown = 'import fcntl,os,struct,sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack("I", 2))';
    this.run('python3', '-c', shutdown, this.below);
  }
}

test('a sync that fails: nobody sees what it was for, and what came before is there', async (t) => {
  const { gateway, disk: device } = await onDisk(t, Device) ?? {};
  if (!gateway) return;
  const feed = await bobHears(t, gateway, 'chat:a');
  const publish = (n) => gateway.api('publish', { channel: 'chat:a', data: { n }, idempotency_key: `k${n}` });
  for (let n = 1; n <= 5; n++) assert.equal((await publish(n)).result.offset, n);
  await until(() => feed.publications.length === 5, 'bob heard them');
  device.fail();
  for (let i = 0; i < 2; i++)
    assert.deepEqual((await publish(6)).error, { code: 100, message: 'unknown outcome, retry with the same key' });
  assert.equal((await publish(7)).error.message, 'store refuses writes');
  await until(() => /log write failed, this shard refuses publications until a restart file=\S+ errno=5/.test(gateway.log), 'the log tells of EIO');
  const red = await health(gateway);
  assert.equal(red.status, 503);
  assert.match(red.store.detail, /a write to the log failed; mend the disk and restart/);
  await holds(gateway, 'chat:a', 5);
  assert.deepEqual(offsets(feed.publications), range(1, 5));

  await gateway.kill();
  device.unmount();
  device.mount();
  await gateway.start({ shards: 2 });
  await holds(gateway, 'chat:a', 5);
  assert.equal((await publish(6)).result.offset, 6);
  await until(() => feed.publications.length === 6, 'bob came back and heard it');
  assert.equal(feed.subscribed.at(-1).recovered, true);
});
