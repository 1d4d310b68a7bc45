// HTTP as proxies, load balancers and patient attackers speak it.
import assert from 'node:assert/strict';
import { connect as connectTcp } from 'node:net';
import test from 'node:test';
import { Gateway, KEY, sleep, until } from './gateway.mjs';
import { talk } from './peer.mjs';

const statuses = (text) => [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1]));
const head = (method, path, ...headers) => `${method} ${path} HTTP/1.1\r\nHost: a\r\n${headers.map((h) => `${h}\r\n`).join('')}\r\n`;
const post = (method, body, ...headers) =>
  `${head('POST', `/api/${method}`, `X-API-Key: ${KEY}`, `Content-Length: ${Buffer.byteLength(body)}`, ...headers)}${body}`;

test('http', { concurrency: true }, async (t) => {
  const gateway = new Gateway({ shards: 2, config: { storage: { engine: 'memory' },
    http_server: { address: '127.0.0.1', body_size_limit: '8MiB' } } });
  t.after(() => gateway.end());
  await gateway.start();
  const cases = [];
  const check = (name, work) => cases.push(t.test(name, work));

  check('unknown paths are 404, known ones with another method 405', async () => {
    const status = async (method, path) => (await fetch(gateway.http + path, { method })).status;
    assert.equal(await status('GET', '/'), 404);
    assert.equal(await status('POST', '/connection/elsewhere'), 404);
    assert.equal(await status('POST', '/health'), 405);
    assert.equal(await status('GET', '/api/publish'), 405);
    assert.equal(await status('POST', '/connection/websocket'), 405);
    assert.equal(await status('GET', '/connection/websocket'), 426);
  });

  check('HEAD answers the head of GET and no body', async () => {
    const { text } = await talk(gateway, head('HEAD', '/health', 'Connection: close'));
    assert.deepEqual(statuses(text), [200]);
    assert.match(text, /\r\n\r\n$/);
    assert.match(text, /Content-Length: [1-9]/i);
  });

  check('one connection serves many requests, one after the other', async () => {
    const parts = Array.from({ length: 5 }, () => head('GET', '/health/simple'));
    const { text } = await talk(gateway, [...parts, head('GET', '/health/simple', 'Connection: close')], { gap: 20 });
    assert.deepEqual(statuses(text), [200, 200, 200, 200, 200, 200]);
  });

  check('pipelined requests are answered in order', async () => {
    const calls = Array.from({ length: 40 }, (_, i) => i % 5 === 4 ? head('GET', '/health/simple')
      : post('publish', JSON.stringify({ channel: `chat:pipe${i % 7}`, data: i })));
    const { text } = await talk(gateway, [calls.join('') + head('GET', '/nowhere', 'Connection: close')]);
    assert.deepEqual(statuses(text), [...calls.map(() => 200), 404]);
    const kinds = text.split('HTTP/1.1 ').slice(1, 41).map((part) => part.includes('"offset"'));
    assert.deepEqual(kinds, calls.map((call) => call.includes('publish')));
  });

  check('a client that ends its side behind its request still gets the answer', async () => {
    const half = (text) => new Promise((done) => {
      let got = '';
      const socket = connectTcp({ port: gateway.port, host: '127.0.0.1', allowHalfOpen: true }, () => socket.end(text));
      socket.on('data', (bytes) => { got += bytes; });
      socket.on('error', () => {});
      socket.on('close', () => done(got));
    });
    const requests = [[head('GET', '/nowhere'), [404]], [post('publish', JSON.stringify({ channel: 'chat:half', data: 1 })), [200]],
      [head('GET', '/health/simple') + post('info', '{}') + head('GET', '/nowhere'), [200, 200, 404]], ['GET / HT', []]];
    for (let i = 0; i < 200; i++) {
      const [text, expected] = requests[i % requests.length];
      assert.deepEqual(statuses(await half(text)), expected, text);
    }
  });

  check('an answer to HTTP/1.0 ends the connection', async () => {
    const { text, isTimeout } = await talk(gateway, 'GET /health HTTP/1.0\r\n\r\n');
    assert.deepEqual(statuses(text.replace('HTTP/1.0', 'HTTP/1.1')), [200]);
    assert.equal(isTimeout, false);
  });

  check('a body in chunks, cut anywhere', async () => {
    const body = JSON.stringify({ channel: 'chat:chunks', data: { text: 'ü'.repeat(50) } });
    const bytes = Buffer.from(body);
    for (const size of [1, 7, 64]) {
      let text = '';
      for (let at = 0; at < bytes.length; at += size) {
        const part = bytes.subarray(at, at + size);
        text += `${part.length.toString(16)}\r\n${part.toString('latin1')}\r\n`;
      }
      const request = Buffer.from(`${head('POST', '/api/publish', `X-API-Key: ${KEY}`, 'Transfer-Encoding: chunked',
        'Connection: close')}${text}0\r\nTrailer: y\r\n\r\n`, 'latin1');
      const parts = [];
      for (let at = 0; at < request.length; at += 97) parts.push(request.subarray(at, at + 97));
      const { text: answer } = await talk(gateway, parts, { gap: 1 });
      assert.deepEqual(statuses(answer), [200], answer);
    }
    const { publications } = await gateway.ask('history', { channel: 'chat:chunks', limit: -1 });
    assert.deepEqual(publications.map((p) => p.data.text), Array(3).fill('ü'.repeat(50)));
  });

  check('Expect: 100-continue is answered before the body is sent', async () => {
    const body = JSON.stringify({ channel: 'chat:expect', data: 1 });
    const [first] = post('publish', body, 'Expect: 100-continue', 'Connection: close').split('\r\n\r\n');
    let text = '', isOver = false;
    const socket = connectTcp(gateway.port, '127.0.0.1', () => socket.write(`${first}\r\n\r\n`));
    socket.on('data', (bytes) => { text += bytes; }).on('close', () => { isOver = true; });
    await until(() => text.endsWith('\r\n\r\n'), 'it is asked to go on');
    assert.deepEqual(statuses(text), [100]);
    socket.write(body);
    await until(() => isOver, 'it is answered');
    assert.deepEqual(statuses(text), [100, 200]);
  });

  check('a body of 8 MiB is read; one above the limit is 413, and the client reads it', async () => {
    const big = (size) => {
      const empty = JSON.stringify({ channel: 'chat:big', data: '' }).length;
      return JSON.stringify({ channel: 'chat:big', data: 'x'.repeat(size - empty) });
    };
    const send = (body) => fetch(`${gateway.http}/api/publish`, { method: 'POST', headers: { 'X-API-Key': KEY }, body });
    assert.equal((await send(big(8 << 20))).status, 200);
    assert.equal((await send(big((8 << 20) + 1))).status, 413);
    const chunked = await fetch(`${gateway.http}/api/publish`, { method: 'POST', headers: { 'X-API-Key': KEY }, duplex: 'half',
      body: new ReadableStream({
        pull(controller) {
          this.sent = (this.sent ?? 0) + 65536;
          controller.enqueue(Buffer.alloc(65536, 'x'));
          if (this.sent > 9 << 20) controller.close();
        } }) });
    assert.equal(chunked.status, 413);
  });

  check('a head that trickles is 408 after 5 seconds, on a kept connection too', async () => {
    const began = Date.now();
    // 15 seconds of it: a deadline that each byte moves would let it go on.
    const trickle = Array.from({ length: 60 }, (_, i) => (i === 0 ? 'GET /health HTTP/1.1\r\nHost: a\r\n' : `X-${i}: y\r\n`));
    const again = [head('GET', '/health/simple'), ...trickle];
    const [slow, kept] = await Promise.all([talk(gateway, trickle, { gap: 250 }), talk(gateway, again, { gap: 250 })]);
    const took = Date.now() - began;
    assert.deepEqual(statuses(slow.text), [408]);
    assert.deepEqual(statuses(kept.text), [200, 408]);
    assert.ok(took >= 5000 && took < 15000, `${took} ms`);
  });

  check('a connection that says nothing is closed without a word', async () => {
    const began = Date.now();
    const { text, isTimeout } = await talk(gateway, []);
    assert.equal(text, '');
    assert.equal(isTimeout, false);
    assert.ok(Date.now() - began >= 5000);
  });

  await Promise.all(cases);

  await t.test('who sends requests and reads no answers costs no memory, and gets them all later', async (t) => {
    const before = gateway.memory(), count = 8000;
    const socket = connectTcp(gateway.port, '127.0.0.1').setEncoding('latin1').pause();
    socket.write(head('GET', '/metrics').repeat(count - 1) + head('GET', '/metrics', 'Connection: close'));
    await sleep(700);
    const grown = gateway.memory() - before;
    let text = '', answers = 0, size = 0;
    socket.on('data', (part) => {
      size += part.length;
      text = text.slice(-20) + part;
      answers += text.split('HTTP/1.1 200').length - 1;
      text = text.slice(text.lastIndexOf('HTTP/1.1 200') + 12);
    }).resume();
    await new Promise((done) => socket.on('close', done));
    assert.equal(answers, count);
    assert.ok(size > 20 << 20, `${size} bytes`);
    t.diagnostic(`${grown >> 20} MiB more`);
    if (gateway.isMeasurable) assert.ok(grown < 8 << 20, `${grown >> 20} MiB more`);
  });

  await t.test('nothing of all that stays behind', async () => {
    const { nodes } = await gateway.ask('info', {});
    assert.equal(nodes[0].num_clients, 0);
    await until(async () => await gateway.metric('connections') <= 2, 'the sockets are gone');
    assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
  });
});
