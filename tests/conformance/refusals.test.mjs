// Every way to be refused over HTTP, on real sockets: whole, and byte by byte.
// The parser's own table is tests/unit/proto/test_http.c; this one says that the
// status arrives, that the connection ends, and that nobody else notices.
import assert from 'node:assert/strict';
import { connect as connectTcp } from 'node:net';
import test from 'node:test';
import { connect, offsets, range, subscribe } from './client.mjs';
import { Gateway, KEY, SECRET, sleep, until } from './gateway.mjs';
import { open, talk } from './peer.mjs';

const GET = 'GET /health/simple HTTP/1.1\r\n', HOST = 'Host: a\r\n';
const POST = `POST /api/info HTTP/1.1\r\nHost: a\r\nX-API-Key: ${KEY}\r\n`;
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`;
const UPGRADE = 'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n';
const WS = 'GET /connection/websocket HTTP/1.1\r\nHost: a\r\n';

/** [name, request, status]; these end the connection. */
const ENDS = [
  ['a bare LF behind the request line', `GET / HTTP/1.1\n${HOST}\r\n`, 400],
  ['a bare LF behind a header', `${GET}Host: a\n\r\n`, 400],
  ['a bare CR', `${GET}Host: a\rX: y\r\n\r\n`, 400],
  ['a space before the colon', `${GET}Host : a\r\n\r\n`, 400],
  ['a folded header', `${GET}${HOST}X: y\r\n z\r\n\r\n`, 400],
  ['no Host', `${GET}\r\n`, 400],
  ['two Hosts', `${GET}${HOST}${HOST}\r\n`, 400],
  ['an empty Host', `${GET}Host:\r\n\r\n`, 400],
  ['a Host that is not the target\'s', `GET http://b/ HTTP/1.1\r\n${HOST}\r\n`, 400],
  ['a byte of 0x80 in the target', `GET /\x80 HTTP/1.1\r\n${HOST}\r\n`, 400],
  ['a control byte in the target', `GET /\x01 HTTP/1.1\r\n${HOST}\r\n`, 400],
  ['a NUL in a header', `${GET}${HOST}X: \0\r\n\r\n`, 400],
  ['a header without a colon', `${GET}${HOST}what\r\n\r\n`, 400],
  ['a chunk extension', `${CHUNKED}2;a=b\r\n{}\r\n0\r\n\r\n`, 400],
  ['a chunk size with a sign', `${CHUNKED}+2\r\n{}\r\n0\r\n\r\n`, 400],
  ['a chunk size below zero', `${CHUNKED}-2\r\n{}\r\n0\r\n\r\n`, 400],
  ['a chunk size with 0x', `${CHUNKED}0x2\r\n{}\r\n0\r\n\r\n`, 400],
  ['a chunk size without a digit', `${CHUNKED}\r\n`, 400],
  ['a chunk size that overflows', `${CHUNKED}10000000000000002\r\n{}\r\n0\r\n\r\n`, 400],
  ['a chunk that is longer than its size', `${CHUNKED}1\r\n{}\r\n0\r\n\r\n`, 400],
  ['a trailer that frames', `${CHUNKED}2\r\n{}\r\n0\r\nContent-Length: 1\r\n\r\n`, 400],
  ['chunked twice', `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`, 400],
  ['chunked, chunked', `${POST}Transfer-Encoding: chunked, chunked\r\n\r\n`, 501],
  ['gzip, chunked', `${POST}Transfer-Encoding: gzip, chunked\r\n\r\n`, 501],
  ['chunked, identity', `${POST}Transfer-Encoding: chunked, identity\r\n\r\n`, 501],
  ['an unknown coding', `${POST}Transfer-Encoding: xchunked\r\n\r\n`, 501],
  ['chunked on HTTP/1.0', 'POST /api/info HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400],
  ['length and encoding', `${POST}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n`, 400],
  ['two lengths', `${POST}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}`, 400],
  ['a list of lengths', `${POST}Content-Length: 2, 2\r\n\r\n{}`, 400],
  ['a length with a sign', `${POST}Content-Length: +2\r\n\r\n{}`, 400],
  ['a length that overflows', `${POST}Content-Length: 18446744073709551618\r\n\r\n{}`, 413],
  ['a length above the limit', `${POST}Content-Length: 4097\r\n\r\n`, 413],
  ['a chunk above the limit', `${CHUNKED}1001\r\n`, 413],
  ['a request line of 8,193', `GET /${'a'.repeat(8193 - 14)} HTTP/1.1\r\n${HOST}\r\n`, 414],
  ['a header line of 8,193', `${GET}${HOST}X: ${'a'.repeat(8190)}\r\n\r\n`, 431],
  ['65 headers', `${GET}${HOST}${'X: y\r\n'.repeat(64)}\r\n`, 431],
  ['a head of more than 16 KiB', `${GET}${HOST}${`X: ${'a'.repeat(8000)}\r\n`.repeat(3)}\r\n`, 431],
  ['an unknown expectation', `${POST}Expect: more\r\nContent-Length: 2\r\n\r\n`, 417],
  ['an unknown method', `BREW / HTTP/1.1\r\n${HOST}\r\n`, 501],
  ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505],
  ['TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n', 400],
];

/** [name, request, status, what the head must hold]; the connection goes on. */
const GOES_ON = [
  ['a request line of 8,192', `GET /${'a'.repeat(8192 - 14)} HTTP/1.1\r\n${HOST}\r\n`, 404],
  ['64 headers', `${GET}${HOST}${'X: y\r\n'.repeat(63)}\r\n`, 200],
  ['a body at the limit', `${POST}Content-Length: 4096\r\n\r\n{${' '.repeat(4094)}}`, 200],
  ['a call without a length', `${POST}\r\n`, 411],
  ['a call without a key', 'POST /api/info HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}', 401],
  ['a call by GET', `GET /api/info HTTP/1.1\r\n${HOST}\r\n`, 405, /^Allow: POST\r$/m],
  ['health by DELETE', `DELETE /health HTTP/1.1\r\n${HOST}\r\n`, 405, /^Allow: GET, HEAD\r$/m],
  ['an unknown path', `GET /nowhere HTTP/1.1\r\n${HOST}\r\n`, 404],
  ['OPTIONS of everything', `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`, 204, /^Allow: GET, HEAD, POST, OPTIONS\r$/m],
  ['no upgrade', `${WS}\r\n`, 426, /^Upgrade: websocket\r$/m],
  ['another version', `${WS}${UPGRADE.replace('13', '8')}\r\n`, 426, /^Sec-WebSocket-Version: 13\r$/m],
  ['no key', `${WS}${UPGRADE.replace(/Sec-WebSocket-Key.*\r\n/, '')}\r\n`, 400],
  ['a short key', `${WS}${UPGRADE.replace('AAAA', '')}\r\n`, 400],
  ['an origin that is not allowed', `${WS}${UPGRADE}Origin: https://evil.example\r\n\r\n`, 403],
  ['a scheme that is not allowed', `${WS}${UPGRADE}Origin: ftp://app.example.com\r\n\r\n`, 403],
  ['an origin that only begins like one', `${WS}${UPGRADE}Origin: https://app.example.com.evil\r\n\r\n`, 403],
  ['null as an origin', `${WS}${UPGRADE}Origin: null\r\n\r\n`, 403],
  ['two origins', `${WS}${UPGRADE}Origin: http://a\r\nOrigin: http://a\r\n\r\n`, 400],
  ['a preflight', 'OPTIONS /connection/websocket HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example.com\r\nAccess-Control-Request-Headers: x\r\n\r\n',
    204, /^Access-Control-Allow-Origin: https:\/\/app\.example\.com\r\nAccess-Control-Allow-Credentials: true\r\n[^]*Allow-Headers: x\r$/m],
  ['a preflight from elsewhere', 'OPTIONS /connection/websocket HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.example\r\n\r\n', 204, /^(?![^]*Access-Control)[^]*Vary: Origin/],
];
const ALLOWED = ['http://a', 'HTTP://A', 'https://app.example.com', 'https://x.y.example.com', 'http://localhost:3007'];

const statuses = (text) => [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1]));
const bytewise = (text) => { const all = Buffer.from(text, 'latin1'); return all.length > 600 ? [all.subarray(0, 300), all.subarray(300)] : [...all].map((_, i) => all.subarray(i, i + 1)); };

test('refusals', async (t) => {
  const gateway = new Gateway({ shards: 2, config: { storage: { engine: 'memory' },
    client: { insecure: true, token: { hmac_secret_key: SECRET }, allowed_origins: ['https://*.example.com', 'http://localhost:30[0-9][0-9]'] },
    http_server: { address: '127.0.0.1', body_size_limit: 4096, header_timeout: '1m' } } });
  t.after(() => gateway.end());
  await gateway.start();
  const witness = await connect(gateway, 'witness');
  t.after(() => witness.centrifuge.disconnect());
  const feed = await subscribe(witness, 'chat:witness');

  for (const [name, request, status] of ENDS)
    await t.test(`${name} is ${status} and the end`, async () => {
      for (const parts of [[Buffer.from(request, 'latin1')], bytewise(request)]) {
        const { text, isTimeout } = await talk(gateway, [...parts, Buffer.from(`${GET}${HOST}\r\n`)], { gap: parts.length > 2 ? 0 : 5 });
        assert.deepEqual(statuses(text), [status], text);
        assert.match(text, /^Connection: close\r$/m);
        assert.equal(isTimeout, false);
      }
    });
  for (const [name, request, status, holds] of GOES_ON)
    await t.test(`${name} is ${status}`, async () => {
      const last = `GET /health/simple HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`;
      const { text } = await talk(gateway, [Buffer.from(request + last, 'latin1')]);
      assert.deepEqual(statuses(text), [status, 200], text);
      if (holds) assert.match(text, holds);
    });
  for (const origin of ALLOWED)
    await t.test(`${origin} may enter`, async () => {
      const { text } = await talk(gateway, [`${WS}${UPGRADE}Origin: ${origin}\r\n\r\n`], { until: (got) => got.includes('\r\n\r\n') });
      assert.deepEqual(statuses(text), [101], text);
    });

  await t.test('a head, a body and a second request that do not come: 408, 408, silence', async () => {
    gateway.options.config.http_server = { ...gateway.options.config.http_server,
      header_timeout: '1s', body_timeout: '1s', idle_timeout: '1s' };
    assert.match(await gateway.reload(), /reloaded/);
    const [head, body, chunks, idle, none] = await Promise.all([
      talk(gateway, [`${GET}Ho`]), talk(gateway, [`${POST}Content-Length: 20\r\n\r\n{`]),
      talk(gateway, [`${CHUNKED}5\r\n{`]), talk(gateway, [`${GET}${HOST}\r\n`]), talk(gateway, [])]);
    assert.deepEqual([head, body, chunks, idle, none].map(({ text, isTimeout }) => [statuses(text), isTimeout]),
      [[[408], false], [[408], false], [[408], false], [[200], false], [[], false]]);
    assert.equal(await gateway.metric('http_request_timeouts_total'), 3);
  });

  await t.test('the witness noticed nothing, and what was refused is counted', async () => {
    await gateway.ask('publish', { channel: 'chat:witness', data: 1 });
    await until(() => feed.publications.length === 1, 'it receives');
    assert.deepEqual(offsets(feed.publications), [1]);
    assert.equal(witness.connects, 1);
    assert.equal(await gateway.metric('http_requests_refused_total'), 2 * ENDS.length);
  });

  await t.test('a draining gateway answers 503 to upgrades, calls and health', async () => {
    const sockets = range(1, 12).map(() => connectTcp(gateway.port, '127.0.0.1'));
    const texts = sockets.map(() => '');
    sockets.forEach((socket, i) => { socket.on('data', (bytes) => { texts[i] += bytes; }); socket.on('error', () => {}); });
    await Promise.all(sockets.map((socket) => new Promise((done) => socket.once('connect', done))));
    // Half of a request was sent before: the connection is not idle when the drain comes.
    const requests = [`${WS}${UPGRADE}\r\n`, `${POST}Content-Length: 2\r\n\r\n{}`, `${GET}${HOST}\r\n`];
    const peers = range(1, 20).map(() => open(gateway));
    await Promise.all(peers.map((peer) => peer.ready));
    sockets.forEach((socket, i) => socket.write(requests[i % 3].slice(0, 20)));
    await sleep(50);
    gateway.child.kill('SIGTERM');
    await until(() => /draining/.test(gateway.log), 'it drains');
    sockets.forEach((socket, i) => socket.write(requests[i % 3].slice(20)));
    await until(() => sockets.every((socket) => socket.destroyed || socket.readableEnded), 'all are answered or closed');
    for (const text of texts) {
      assert.deepEqual(statuses(text), [503], text);
      assert.match(text, /^Connection: close\r$/m);
    }
    peers.forEach((peer) => peer.socket.terminate());
    assert.deepEqual(await gateway.exited, { code: 0, signal: null });
  });
});
