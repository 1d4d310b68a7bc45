// A real redis-server of our own: free port, temporary directory, no service.
import { execFileSync, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './gateway.mjs';

const bound = (socket, listen) => new Promise((done) => {
  socket.once('error', () => done(false));
  listen(() => done(true));
});

/** Below the ports that the kernel gives to clients, or one of them has it while its server is down; and nobody
 *  else's until this process ends: the tests that run beside it ask for the datagram port first, as this one does. */
export async function freePort() {
  for (;;) {
    const port = 20000 + randomInt(12000);
    const held = createSocket('udp4'), server = createServer();
    const isOurs = await bound(held, (done) => held.bind({ port, address: '127.0.0.1', exclusive: true }, done))
      && await bound(server, (done) => server.listen(port, '127.0.0.1', done));
    if (isOurs) {
      held.unref();
      await new Promise((done) => server.close(done));
      return port;
    }
    try { held.close(); } catch { /* it is not open */ }
  }
}

const answers = (port) => new Promise((done) => {
  const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'));
  socket.on('data', (bytes) => { socket.destroy(); done(String(bytes).startsWith('+PONG')); });
  socket.on('error', () => done(false));
});

export class Redis {
  /** `arguments`: more of redis-server's own. */
  constructor({ arguments: more = [] } = {}) { this.more = more; }

  async start() {
    this.dir ??= mkdtempSync(join(tmpdir(), 'sluice-redis-'));
    this.port ??= await freePort();
    this.child = spawn('redis-server', ['--port', String(this.port), '--dir', this.dir, '--save', '',
      '--appendonly', 'yes', '--appendfsync', 'always', '--bind', '127.0.0.1', ...this.more], { stdio: 'ignore' });
    this.exited = new Promise((done) => this.child.once('exit', done));
    await until(() => answers(this.port), 'redis-server answers');
    return this;
  }
  /** redis-cli's answer. */
  say(...words) { return execFileSync('redis-cli', ['-p', String(this.port), ...words], { encoding: 'utf8' }).trim(); }
  get address() { return `redis://127.0.0.1:${this.port}`; }
  /** The options of a gateway: a machine that does much else may let it wait. */
  get options() { return { address: this.address, connect_timeout: '5s' }; }
  /** The same, where Redis is not expected to be away. */
  get patient() { return { ...this.options, connect_timeout: '1m', io_timeout: '1m' }; }
  async kill() { this.child.kill('SIGKILL'); await this.exited; }
  async end() { await this.kill(); rmSync(this.dir, { recursive: true, force: true }); }
}
