// A real browser, and pages in it.  BROWSER: its path; undefined where there is no Chromium.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { tmpdir } from 'node:os';
import WebSocket from 'ws';
import { until } from './gateway.mjs';

export const BROWSER = [process.env.CHROMIUM, ...process.env.PATH.split(delimiter)
  .flatMap((dir) => ['chromium', 'chromium-browser', 'google-chrome'].map((name) => join(dir, name)))]
  .find((path) => path && existsSync(path));

/** Headless Chromium over its debugging protocol. */
export class Browser {
  async start() {
    this.dir = mkdtempSync(join(tmpdir(), 'sluice-browser-'));
    this.child = spawn(BROWSER, ['--headless', '--disable-gpu', '--no-first-run', '--disable-dev-shm-usage', '--no-sandbox',
      '--disable-extensions', '--disable-background-networking', '--disable-background-timer-throttling', '--disable-renderer-backgrounding',
      '--disable-backgrounding-occluded-windows', '--remote-debugging-port=0', `--user-data-dir=${this.dir}`,
      'about:blank'], { stdio: 'ignore', detached: true });
    this.exited = new Promise((done) => this.child.once('exit', done));
    const file = join(this.dir, 'DevToolsActivePort');
    await until(() => existsSync(file) && readFileSync(file, 'utf8').includes('\n'), 'the browser listens');
    this.port = Number(readFileSync(file, 'utf8').split('\n')[0]);
    return this;
  }
  async open(url) {
    const target = await (await fetch(`http://127.0.0.1:${this.port}/json/new?${url}`, { method: 'PUT' })).json();
    const socket = new WebSocket(target.webSocketDebuggerUrl);
    await new Promise((done, fail) => { socket.once('open', done); socket.once('error', fail); });
    const waiting = new Map();
    let id = 0;
    socket.on('message', (bytes) => {
      const message = JSON.parse(bytes);
      waiting.get(message.id)?.(message);
      waiting.delete(message.id);
    });
    const say = (method, params) => new Promise((done) => {
      waiting.set(++id, done);
      socket.send(JSON.stringify({ id, method, params }));
    });
    /** Evaluates in the page and returns the value, promises awaited. */
    const run = async (expression) => {
      const { result, error } = await say('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
      if (error || result.exceptionDetails) throw new Error(JSON.stringify(error ?? result.exceptionDetails));
      return result.result.value;
    };
    /** What the page looks like, as the bytes of a PNG. */
    run.picture = async () => Buffer.from((await say('Page.captureScreenshot', { format: 'png' })).result.data, 'base64');
    run.size = (width, height) => say('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false });
    await until(() => run('document.readyState === "complete" && typeof Centrifuge === "function"'), 'the page is there');
    return run;
  }
  async end() {
    // Its helpers are processes of their own and write to the profile to the last:
    // the whole group ends, and the folder when the last of them is gone.
    try { process.kill(-this.child.pid, 'SIGKILL'); } catch { /* gone already */ }
    await this.exited;
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 });
  }
}
