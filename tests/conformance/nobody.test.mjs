// The gateway as an unprivileged user with little: it starts, or says what to
// raise; and what it then has, it gives out and takes back.  Needs root, to become
// somebody else; skipped without.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { accessSync, chmodSync, chownSync, constants, copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { connect as connectTcp } from 'node:net';
import test from 'node:test';
import { connect, offsets, range, subscribe } from './client.mjs';
import { open } from './peer.mjs';
import { BINARY, Gateway, SECRET, until } from './gateway.mjs';

const NOBODY = 65534, MIB = 1 << 20;
const TOOLS = ['/usr/bin/prlimit', '/usr/bin/setpriv'];
const skip = process.getuid() !== 0 ? 'needs root to become nobody' : TOOLS.every(existsSync) ? false : 'needs prlimit and setpriv';

/** A gateway of nobody's, with the limits of `prlimit`. */
function limited(t, limits, config = {}) {
  const gateway = new Gateway({ shards: 2, config: { ...config } });
  t.after(() => gateway.end());
  chmodSync(gateway.dir, 0o755);
  chownSync(gateway.dir, NOBODY, NOBODY);
  // The binary may stand where only root looks.
  const copy = join(gateway.dir, 'sluice');
  copyFileSync(BINARY, copy);
  chmodSync(copy, 0o755);
  accessSync(copy, constants.X_OK);
  gateway.options.under = [TOOLS[0], ...limits, TOOLS[1], `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];
  Object.assign(gateway.options, { binary: copy, owner: NOBODY });
  return gateway;
}

test('nobody', { skip }, async (t) => {
  await t.test('without locked memory for its rings: it starts where the kernel asks for none, or says how much to raise', async (t) => {
    for (const size of [0, 65536, 600 << 10]) {
      const gateway = limited(t, [`--memlock=${size}`, '--nofile=1024']);
      try {
        await gateway.start();
      } catch {
        assert.match(gateway.log, /raise LimitMEMLOCK \(systemd\) or 'ulimit -l' to 512 KiB a shard or more/);
        continue;
      }
      assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
    }
  });

  await t.test('few descriptors: it says so, serves so many, and the rest when there is room', async (t) => {
    const gateway = limited(t, ['--nofile=64', `--memlock=${4 * MIB}`]);
    await gateway.start({ shards: 1 });
    assert.match(gateway.log, /bounded by the descriptor limit wanted=\d+ limit=64 advice="raise LimitNOFILE, run more shards, or lower shards\.connections_max"/);
    const witness = await connect(gateway, 'witness');
    const feed = await subscribe(witness, 'chat:witness');
    const peers = range(1, 150).map(() => {
      const peer = { socket: connectTcp({ port: gateway.port, host: '127.0.0.1' }), text: '' };
      peer.socket.on('data', (bytes) => { peer.text += bytes; });
      peer.socket.on('error', () => {});
      peer.socket.write('GET /health/simple HTTP/1.1\r\nHost: a\r\n\r\n');
      return peer;
    });
    const answered = () => peers.filter((peer) => peer.text.includes('200 OK')).length;
    await until(() => answered() >= 20, 'the first are served');
    // A full table refuses nobody for good: whoever waits comes in as others go.
    await until(() => {
      for (const peer of peers) if (peer.text !== '') peer.socket.destroy();
      return answered() === peers.length;
    }, 'all are served');
    witness.centrifuge.publish('chat:witness', 1);
    await until(() => feed.publications.length === 1, 'the witness receives');
    assert.deepEqual(offsets(feed.publications), [1]);
    assert.equal(witness.connects, 1);
    witness.centrifuge.disconnect();
    assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
  });

  await t.test('its own limits hold, and its files are its own', async (t) => {
    const gateway = limited(t, ['--nofile=512', `--memlock=${4 * MIB}`],
      { client: { token: { hmac_secret_key: SECRET }, connection_limit: 3 } });
    await gateway.start();
    const clients = await Promise.all(range(1, 3).map((n) => connect(gateway, `user${n}`)));
    const { status } = await fetch(`${gateway.http}/connection/websocket`);
    assert.equal(status, 426);
    const refused = open(gateway);
    await refused.ready;
    assert.match(String(refused.error), /503/);
    await clients[0].centrifuge.publish('chat:kept', 'x');
    assert.equal(Number(spawnSync('stat', ['-c', '%u', join(gateway.dir, 'data')], { encoding: 'utf8' }).stdout), NOBODY);
    clients.forEach(({ centrifuge }) => centrifuge.disconnect());
    assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
  });
});
