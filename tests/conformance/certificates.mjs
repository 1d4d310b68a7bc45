// Certificates of a test's own, made by the openssl command; no key outlives it.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A self-signed certificate for 127.0.0.1 in `dir`: paths, and its PEM as `ca`. */
export function certificate(dir, name, kind = 'ecdsa') {
  const cert = join(dir, `${name}.crt`), key = join(dir, `${name}.key`);
  const sort = kind === 'rsa' ? ['rsa:2048'] : ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
  execFileSync('openssl', ['req', '-x509', '-newkey', ...sort, '-nodes', '-keyout', key, '-out', cert, '-days', '2',
    '-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'], { stdio: 'pipe' });
  return { cert, key, ca: readFileSync(cert, 'utf8') };
}
