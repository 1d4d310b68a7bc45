// The read-index service as a chat server uses it.
import { KEY } from './gateway.mjs';

/** Options of a gateway that serves it; `more` over them. */
export const serving = (more = {}) => ({
  read_index: { enabled: true, address: '127.0.0.1', port: 0 },
  channel: { without_namespace: { history_size: 2000, history_ttl: '1h' },
    namespaces: [{ name: 'dm', history_size: 100, history_ttl: '1h' }, { name: 'live' },
      { name: 'brief', history_size: 5, history_ttl: '1h' }] },
  ...more,
});

/** Speaks to the service of a running gateway. */
export class ReadIndex {
  constructor(gateway) { this.gateway = gateway; }
  get url() {
    const log = this.gateway.log.slice(this.gateway.started);
    return `http://127.0.0.1:${/read index listening .*port=(\d+)/.exec(log)[1]}`;
  }
  /** → { status, body }: the body is read as JSON. */
  async say(method, path, body, headers = { 'X-API-Key': KEY }) {
    const answer = await fetch(this.url + path, { method, headers, body: body === undefined ? undefined :
      typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body) });
    const text = await answer.text();
    return { status: answer.status, body: text ? JSON.parse(text) : null };
  }
  /** The body of a success. */
  async ask(method, path, body) {
    const answer = await this.say(method, path, body);
    if (answer.status !== 200) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }
  /** The name of the error that is expected. */
  async fault(method, path, body, headers) {
    const { status, body: answer } = await this.say(method, path, body, headers);
    return status === 200 ? `200 ${JSON.stringify(answer)}` : `${status} ${answer.error}`;
  }
  /** The value of a metric under its bare name. */
  async metric(name) {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    return Number(new RegExp(`^${name} ([0-9.]+)$`, 'm').exec(text)?.[1]);
  }
}
