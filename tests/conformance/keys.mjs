// Keys of every kind, tokens signed by node:crypto, and a server of JWK sets that
// can be slow, broken or away.
import { createHmac, generateKeyPairSync, sign as signature } from 'node:crypto';
import { createServer } from 'node:http';

const base64url = (value) => Buffer.from(value).toString('base64url');

const KINDS = {
  RS: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ES384: () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  ES512: () => generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  EdDSA: () => generateKeyPairSync('ed25519'),
};

/** A new key for `alg`. */
export function makeKey(alg, kid) {
  const pair = (KINDS[alg] ?? KINDS[alg.slice(0, 2)])();
  return { alg, kid, ...pair,
    pem: pair.publicKey.export({ type: 'spki', format: 'pem' }),
    jwk: { kid, use: 'sig', alg, ...pair.publicKey.export({ format: 'jwk' }) } };
}

/** A token with these claims by `key`: of makeKey, or a text for HS. */
export function sign(claims, key, alg = key.alg, header = {}) {
  const kid = key.kid === undefined ? {} : { kid: key.kid };
  const text = `${base64url(JSON.stringify({ alg, typ: 'JWT', ...kid, ...header }))}.${base64url(JSON.stringify(claims))}`;
  const bits = `sha${alg.slice(2)}`;
  let made;
  if (alg.startsWith('HS')) made = createHmac(bits, key).update(text).digest();
  else if (alg === 'EdDSA') made = signature(null, Buffer.from(text), key.privateKey);
  else made = signature(bits, Buffer.from(text), { key: key.privateKey, dsaEncoding: 'ieee-p1363' });
  return `${text}.${base64url(made)}`;
}

/** Serves `keys`; `mode`: ok, slow, garbage, error, huge, redirect; counts what was asked. */
export class KeyServer {
  constructor(...keys) {
    this.keys = keys;
    this.mode = 'ok';
    this.count = 0;
    this.sockets = new Set();
  }

  async start(port = 0) {
    this.server = createServer((request, response) => this.answer(request, response));
    this.server.on('connection', (socket) => {
      this.sockets.add(socket);
      socket.on('close', () => this.sockets.delete(socket));
    });
    await new Promise((done) => this.server.listen(port, '127.0.0.1', done));
    this.port = this.server.address().port;
    return this;
  }

  get url() { return `http://127.0.0.1:${this.port}/keys`; }

  answer(request, response) {
    this.count++;
    const text = JSON.stringify({ keys: this.keys.map((key) => key.jwk) });
    if (this.mode === 'slow') return; // never: the client gives up
    if (this.mode === 'redirect' && request.url === '/keys')
      return response.writeHead(302, { Location: this.target }).end();
    if (this.mode === 'error') return response.writeHead(404).end('no');
    if (this.mode === 'garbage') return response.end('<html>hello</html>');
    if (this.mode === 'huge') return response.end(text.padEnd(300000));
    setTimeout(() => response.writeHead(200, { 'Content-Type': 'application/json' }).end(text), this.delay ?? 0);
  }

  async stop() {
    for (const socket of this.sockets) socket.destroy();
    if (this.server.listening) await new Promise((done) => this.server.close(done));
  }
}

/** Fails when the log names one of the secrets, or a part of a token that is one. */
export function assertSecret(assert, log, secrets) {
  for (const secret of secrets)
    for (const part of [secret, ...secret.split('.').slice(1)])
      if (part.length >= 12) assert.ok(!log.includes(part), `the log names ${part}`);
}
