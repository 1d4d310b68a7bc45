// A primary, its replica and three Sentinels of our own; each ends by its process id.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './gateway.mjs';
import { freePort } from './redis.mjs';

/** What redis-cli prints, or '' when it cannot ask. */
export function ask(port, ...words) {
  try {
    return execFileSync('redis-cli', ['-p', String(port), ...words.map(String)], { encoding: 'utf8', stdio: 'pipe' }).trim();
  } catch { return ''; }
}

/** One redis-server with a directory of its own. */
export class Server {
  async start(args = []) {
    this.dir ??= mkdtempSync(join(tmpdir(), 'sluice-redis-'));
    this.port ??= await freePort();
    this.args ??= args;
    this.child = spawn('redis-server', ['--port', String(this.port), '--dir', this.dir, '--save', '', '--appendonly', 'yes',
      '--appendfsync', 'always', '--bind', '127.0.0.1', ...this.args], { stdio: 'ignore' });
    return this.#answers();
  }
  async startSentinel(primary) {
    this.dir = mkdtempSync(join(tmpdir(), 'sluice-sentinel-'));
    this.port = await freePort();
    const file = join(this.dir, 'sentinel.conf');
    writeFileSync(file, `port ${this.port}\nbind 127.0.0.1\ndir ${this.dir}\nsentinel monitor chat 127.0.0.1 ${primary.port} 2\n`
      + 'sentinel down-after-milliseconds chat 1000\nsentinel failover-timeout chat 3000\n');
    this.child = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' });
    return this.#answers();
  }
  async #answers() {
    this.exited = new Promise((done) => this.child.once('exit', done));
    await until(() => ask(this.port, 'PING') === 'PONG', 'a server answers');
    return this;
  }
  get address() { return `127.0.0.1:${this.port}`; }
  ask(...words) { return ask(this.port, ...words); }
  /** Waits until `replica` has everything that was written here. */
  isFollowedBy(replica) {
    const offset = (one, name) => new RegExp(`^${name}:(\\d+)`, 'm').exec(one.ask('INFO', 'replication'))?.[1];
    return until(() => offset(this, 'master_repl_offset') === offset(replica, 'slave_repl_offset'), 'the replica has it all');
  }
  async kill() {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGKILL');
    await this.exited;
  }
  async end() { await this.kill(); rmSync(this.dir, { recursive: true, force: true }); }
}

export class RedisSentinel {
  async start() {
    this.primary = await new Server().start();
    this.replica = await new Server().start(['--replicaof', '127.0.0.1', String(this.primary.port), '--repl-diskless-sync-delay', '0']);
    await until(() => this.replica.ask('INFO', 'replication').includes('master_link_status:up'), 'the replica follows');
    this.sentinels = await Promise.all([1, 2, 3].map(() => new Server().startSentinel(this.primary)));
    const knows = (sentinel, name, value) => sentinel.ask('SENTINEL', 'MASTER', 'chat').split(/\r?\n/).some(
      (line, at, lines) => line === name && lines[at + 1] === value);
    await until(() => this.sentinels.every((one) => knows(one, 'num-other-sentinels', '2') && knows(one, 'num-slaves', '1')),
      'the Sentinels know each other');
    return this;
  }
  /** The options of a gateway. */
  get options() {
    return { mode: 'sentinel', addresses: this.sentinels.map((one) => one.address), sentinel_master: 'chat', connect_timeout: '5s' };
  }
  async end() {
    for (const one of [...this.sentinels ?? [], this.replica, this.primary]) await one?.end();
  }
}
