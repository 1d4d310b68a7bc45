// A wire between a gateway and its Redis, or a primary and its replica, that a test
// can hold: what is held is not lost, it comes later, as TCP brings it after a
// partition; or never, when the wire is cut.
import { connect, createServer } from 'node:net';

export class Proxy {
  constructor(port) { this.target = port; this.pairs = new Set(); this.held = { up: false, down: false }; }

  async start() {
    this.server = createServer((client) => this.#join(client));
    await new Promise((done) => this.server.listen(0, '127.0.0.1', done));
    this.port = this.server.address().port;
    return this;
  }

  #join(client) {
    const server = connect(this.target, '127.0.0.1');
    const pair = { client, server };
    this.pairs.add(pair);
    const end = () => { client.destroy(); server.destroy(); this.pairs.delete(pair); };
    for (const socket of [client, server]) { socket.on('error', end); socket.on('close', end); }
    client.on('data', (bytes) => server.write(bytes));
    server.on('data', (bytes) => client.write(bytes));
    this.#apply(pair);
  }

  #apply({ client, server }) {
    client[this.held.up ? 'pause' : 'resume']();
    server[this.held.down ? 'pause' : 'resume']();
  }

  /** Holds what goes up (to the server), down, or both; new connections too. */
  hold({ up = true, down = true } = {}) { this.held = { up, down }; this.pairs.forEach((pair) => this.#apply(pair)); }
  release() { this.hold({ up: false, down: false }); }
  /** Ends every connection; what was held is gone. */
  cut() { for (const { client, server } of this.pairs) { client.destroy(); server.destroy(); } this.pairs.clear(); }
  end() { this.cut(); this.server.close(); }
}
