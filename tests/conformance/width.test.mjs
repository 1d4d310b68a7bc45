// Every command of the protocol through the official SDK: both wires, one shard
// and four, and the lines that an application notes are the same everywhere.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Centrifuge } from 'centrifuge';
import { Centrifuge as CentrifugeProtobuf } from 'centrifuge/build/protobuf';
import WebSocket from 'ws';
import { Gateway, SECRET, token, until } from './gateway.mjs';
import { Scene, busy as busyClient, channel, client } from './script.mjs';
import { scenes } from './scenes.mjs';

const CLIENT = { token: { hmac_secret_key: SECRET }, allowed_origins: ['*'] };

test('every command', { concurrency: true }, (tests) => Promise.all([1, 4].map((shards) =>
  tests.test(`on ${shards} shards`, { concurrency: true }, async (t) => {
    const gateway = new Gateway({ shards });
    gateway.options.config = { channel, client: { ...CLIENT, ...client },
      storage: { engine: shards === 1 ? 'memory' : 'embedded', path: `${gateway.dir}/data` } };
    const busy = new Gateway({ shards, config: { channel, storage: { engine: 'memory' },
      client: { ...CLIENT, ...busyClient } } });
    t.after(async () => { await gateway.end(); await busy.end(); });
    await Promise.all([gateway.start(), busy.start()]);
    const shardOf = async (id) => {
      const line = new RegExp(`client connected client=${id} .*shard=(\\d+)`);
      return Number((await until(() => line.exec(gateway.log), 'the log names the shard'))[1]);
    };
    const work = scenes.flatMap(([name, play, expected, only], i) => ['json', 'protobuf'].map((wire) =>
      (only ?? wire) === wire && t.test(`${name} (${wire})`, async () => {
        const scene = new Scene({ wire, Centrifuge: wire === 'json' ? Centrifuge : CentrifugeProtobuf, WebSocket,
          url: gateway.url, busyUrl: busy.url, tag: `${wire}${i}`, token: async (claims) => token(claims),
          api: (method, body) => gateway.api(method, body), place: async (id, n) => await shardOf(id) === n % shards });
        try {
          assert.deepEqual(await play(scene), expected);
        } finally {
          scene.end();
        }
      })));
    await Promise.all(work);
  }))));
