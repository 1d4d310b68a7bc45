// The real gateway as a child process: configuration file, port, log, signals.
import { spawn } from 'node:child_process';
import { Agent, request } from 'node:http';
import * as https from 'node:https';
import { chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createHmac, randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const BINARY = process.env.SLUICE_BINARY ?? new URL('../../build/release/sluice', import.meta.url).pathname;
delete process.env.SLUICE_BINARY; // the gateway would take it for an option

export const KEY = randomBytes(12).toString('hex');
export const SECRET = randomBytes(16).toString('hex');

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Waits until `probe()` is truthy; fails with `what` after `ms`: long, for a machine that
 *  does much else.  What must come within a time has its own option of the gateway. */
export async function until(probe, what, ms = 60000) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > end) throw new Error(`timed out waiting until ${what}`);
    await sleep(10);
  }
}

const base64url = (value) => Buffer.from(value).toString('base64url');

/** An HS256 token, made here so that the gateway's own maker is not its judge. */
export function token(claims, secret = SECRET, header = { alg: 'HS256', typ: 'JWT' }) {
  const text = `${base64url(JSON.stringify(header))}.${base64url(JSON.stringify(claims))}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

export const NAMESPACES = [
  { name: 'chat', history_size: 1000, history_ttl: '300s', force_recovery: true,
    allow_subscribe_for_client: true, allow_publish_for_client: true, allow_history_for_client: true },
  { name: 'short', history_size: 2, history_ttl: '300s', force_recovery: true,
    allow_subscribe_for_client: true, allow_publish_for_client: true, allow_history_for_client: true },
  { name: 'live', allow_subscribe_for_client: true, allow_publish_for_subscriber: true },
  { name: 'closed', history_size: 10, history_ttl: '300s' },
];

export class Gateway {
  /** options: { config: {...} merged over the defaults, shards, env, under: a command
   *  and its arguments that run the gateway, binary: another one,
   *  owner: whose the configuration file is, ca: of a port that speaks TLS } */
  constructor(options = {}) {
    this.options = options;
    this.dir = mkdtempSync(join(tmpdir(), 'sluice-'));
    this.port = 0;
    this.log = '';
  }

  get secure() { return this.options.ca ? 's' : ''; }
  get url() { return `ws${this.secure}://127.0.0.1:${this.port}/connection/websocket`; }
  get http() { return `http${this.secure}://127.0.0.1:${this.port}`; }

  /** The options of the next start or reload. */
  config() {
    return {
      http_server: { address: '127.0.0.1' },
      client: { token: { hmac_secret_key: SECRET }, allowed_origins: ['*'] },
      http_api: { key: KEY },
      health: { enabled: true },
      prometheus: { enabled: true },
      log: { level: 'debug' },
      storage: { engine: 'embedded', path: join(this.dir, 'data') },
      channel: { namespaces: NAMESPACES },
      shutdown: { timeout: '1m' },
      ...this.options.config,
    };
  }

  /** Writes `text`, or the options as they are now, and sends SIGHUP; resolves
   *  with what the log says of it. */
  async reload(text = JSON.stringify(this.config(), null, 2)) {
    writeFileSync(join(this.dir, 'config.json'), text, { mode: 0o600 });
    const from = this.log.length;
    this.child.kill('SIGHUP');
    await until(() => / (reloaded|reload: nothing was changed)/.test(this.log.slice(from)), 'the reload is over');
    return this.log.slice(from);
  }

  async start({ shards = this.options.shards ?? 2, args = [] } = {}) {
    const file = join(this.dir, 'config.json');
    writeFileSync(file, JSON.stringify(this.config(), null, 2), { mode: 0o600 });
    if (this.options.owner) chownSync(file, this.options.owner, this.options.owner);
    this.agent?.destroy();
    this.agent = this.secure ? new https.Agent({ keepAlive: true, ca: this.options.ca }) : new Agent({ keepAlive: true });
    this.started = this.log.length;
    const env = { ...process.env, ...this.options.env,
      // Freed memory that ASan keeps back would count as growth.
      ASAN_OPTIONS: `quarantine_size_mb=8:${process.env.ASAN_OPTIONS ?? ''}` };
    delete env.SLUICE_BINARY; // would be taken for an option
    const command = [...this.options.under ?? [], this.options.binary ?? BINARY];
    this.child = spawn(command[0], [...command.slice(1), 'serve', '--config', file, '--port', String(this.port),
      '--shards', String(shards), ...args], { stdio: ['ignore', 'pipe', 'pipe'], env });
    this.exited = new Promise((done) => this.child.once('exit', (code, signal) => done({ code, signal })));
    let gone = null;
    this.exited.then((how) => { gone = how; });
    const take = (bytes) => { this.log += bytes; };
    this.child.stdout.on('data', take);
    this.child.stderr.on('data', take);
    await until(() => {
      if (gone) throw new Error(`the gateway ended ${JSON.stringify(gone)}:\n${this.log.slice(this.started)}`);
      return / ready /.test(this.log.slice(this.started));
    }, 'the gateway is ready');
    this.port = Number(/listening .*port=(\d+)/.exec(this.log.slice(this.started))[1]);
    return this;
  }

  /** False with TSan, whose own memory is several times the gateway's. */
  get isMeasurable() { return !readFileSync(`/proc/${this.child.pid}/maps`, 'utf8').includes('libtsan'); }

  /** The value of one metric. */
  async metric(name) {
    const text = await (await fetch(`${this.http}/metrics`)).text();
    return Number(new RegExp(`^sluice_${name}(?:\\{[^}]*\\})? (\\d+)$`, 'm').exec(text)?.[1]);
  }

  /** Resident memory in bytes. */
  memory() {
    return 1024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.child.pid}/status`, 'utf8'))[1]);
  }

  async kill() { this.child.kill('SIGKILL'); await this.exited; }

  /** SIGTERM; resolves with how it ended. */
  async stop() {
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 60000);
    const how = await this.exited;
    clearTimeout(timer);
    return how;
  }

  async end() {
    if (this.child && this.child.exitCode === null && this.child.signalCode === null) await this.kill();
    rmSync(this.dir, { recursive: true, force: true });
    const report = /^.*(WARNING: ThreadSanitizer|ERROR: \w+Sanitizer|runtime error: ).*(\n.*){0,60}/m.exec(this.log);
    if (report) throw new Error(`a sanitizer speaks:\n${report[0]}`);
  }

  /** A server API call; returns the parsed body.  Kept-alive connections belong
   *  to one life of the gateway, so that none outlives a kill. */
  async api(method, body, headers = { 'X-API-Key': KEY }) {
    const { status, text } = await new Promise((done, fail) => {
      const call = (this.secure ? https.request : request)(`${this.http}/api/${method}`, { method: 'POST', agent: this.agent,
        headers: { 'Content-Type': 'application/json', ...headers } }, (response) => {
        let got = '';
        response.setEncoding('utf8');
        response.on('data', (bytes) => { got += bytes; });
        response.on('end', () => done({ status: response.statusCode, text: got }));
        response.on('error', fail);
      });
      call.on('error', fail);
      call.end(JSON.stringify(body));
    });
    // Out of credit: nothing was done, ask again as a backend would.
    if (status === 503 && text.includes('"code":111')) {
      await sleep(5);
      return this.api(method, body, headers);
    }
    if (status !== 200) throw new Error(`${method}: HTTP ${status} ${text}`);
    return JSON.parse(text);
  }

  async ask(method, body) {
    const answer = await this.api(method, body);
    if (answer.error) throw new Error(`${method}: ${JSON.stringify(answer.error)}`);
    return answer.result;
  }
}

/** The process under test cannot leave children behind. */
export function cleanup(test, ...gateways) {
  test.after(async () => { for (const gateway of gateways) await gateway.end(); });
}
