// A Redis Cluster of our own: three primaries with a replica each.
import { until } from './gateway.mjs';
import { freePort } from './redis.mjs';
import { Server } from './redis_sentinel.mjs';

const SLOTS = 16384;

export class RedisCluster {
  async start() {
    this.servers = await Promise.all(Array.from({ length: 6 }, async () => {
      const bus = await freePort();
      const server = await new Server().start(['--cluster-enabled', 'yes', '--cluster-node-timeout', '2000', '--cluster-port', String(bus)]);
      return Object.assign(server, { bus, id: server.ask('CLUSTER', 'MYID') });
    }));
    this.primaries = this.servers.slice(0, 3);
    const [first] = this.servers;
    this.servers.forEach((one, at) => {
      one.ask('CLUSTER', 'SET-CONFIG-EPOCH', at + 1);
      if (at > 0) one.ask('CLUSTER', 'MEET', '127.0.0.1', first.port, first.bus);
    });
    await this.all('CLUSTER INFO', 'cluster_known_nodes:6');
    this.primaries.forEach((one, at) =>
      one.ask('CLUSTER', 'ADDSLOTSRANGE', Math.ceil(at * SLOTS / 3), Math.ceil((at + 1) * SLOTS / 3) - 1));
    for (const [at, primary] of this.primaries.entries())
      await until(() => this.servers[at + 3].ask('CLUSTER', 'REPLICATE', primary.id) === 'OK', 'a replica is one');
    await this.all('CLUSTER INFO', 'cluster_state:ok');
    await until(() => this.servers.slice(3).every((one) => one.ask('INFO', 'replication').includes('master_link_status:up')), 'replicas follow');
    return this;
  }
  /** Waits until what every server answers to `question` has `part` in it. */
  all(question, part) {
    return until(() => this.servers.every((one) => one.ask(...question.split(' ')).includes(part)), `everybody says ${part}`);
  }
  /** Moves a slot as an operator's tool does; `between` runs while it is half-way. */
  async move(slot, from, to, between = async () => {}) {
    to.ask('CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id);
    from.ask('CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id);
    const keys = from.ask('CLUSTER', 'GETKEYSINSLOT', slot, 100000).split('\n').filter((key) => key !== '');
    for (const [at, key] of keys.entries()) {
      from.ask('MIGRATE', '127.0.0.1', to.port, key, 0, 5000);
      if (at === Math.floor(keys.length / 2)) await between();
    }
    for (const one of [to, from]) one.ask('CLUSTER', 'SETSLOT', slot, 'NODE', to.id);
  }
  /** The options of a gateway. */
  get options() { return { mode: 'cluster', addresses: this.servers.map((one) => one.address), connect_timeout: '5s' }; }
  async end() { for (const one of this.servers ?? []) await one.end(); }
}
