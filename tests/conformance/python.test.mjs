// Debian's python3-websockets against the gateway, with both wires written by hand.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import test from 'node:test';
import { Gateway, SECRET, token } from './gateway.mjs';
import { channel, client } from './script.mjs';

test('python3-websockets', async (t) => {
  const gateway = new Gateway({ shards: 4 });
  gateway.options.config = { channel, client: { ...client, token: { hmac_secret_key: SECRET } }, storage: { engine: 'memory' } };
  t.after(() => gateway.end());
  await gateway.start();
  const script = new URL('./python_client.py', import.meta.url).pathname;
  const claims = { sub: 'py', exp: Math.floor(Date.now() / 1000) + 600 };
  for (const wire of ['json', 'protobuf'])
    await t.test(wire, async () => {
      const { stdout } = await promisify(execFile)('/usr/bin/python3',
        [script, gateway.url, wire, token(claims), token({ ...claims, channel: 'shut:py' })]);
      assert.equal(stdout.trim(), 'ok');
    });
});
