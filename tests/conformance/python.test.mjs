// Debian's python3-websockets against the gateway.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import test from 'node:test';
import { Gateway, token } from './gateway.mjs';

test('python3-websockets', async (t) => {
  const gateway = new Gateway({ shards: 2 });
  t.after(() => gateway.end());
  await gateway.start();
  const script = new URL('./python_client.py', import.meta.url).pathname;
  const { stdout } = await promisify(execFile)('/usr/bin/python3', [script, gateway.url, token({ sub: 'py' })]);
  assert.equal(stdout.trim(), 'ok');
});
