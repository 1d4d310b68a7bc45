// What a crash and a bad disk leave in the log files (storage/README.md, "A log file, byte
// by byte"): half a batch behind the end, a flipped bit in what is durable, or less than that.
import { closeSync, openSync, readdirSync, readFileSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const HEAD = 64, SEALED_HEAD = 128, BATCH_HEAD = 40, SECTOR = 512;

/** The batches of a file, as far as their heads make a chain. */
function batchesOf(path) {
  const bytes = readFileSync(path), batches = [];
  if (bytes.length < HEAD || bytes.toString('latin1', 0, 8) !== 'SLUICELG') return { bytes, batches, end: 0 };
  const version = bytes.readUInt32LE(8), step = version > 2 ? SECTOR : 8;
  const place = (end) => Math.ceil(end / step) * step;
  let at = place(version % 2 === 0 ? SEALED_HEAD : HEAD);
  while (at + BATCH_HEAD <= bytes.length && bytes.toString('latin1', at, at + 4) === 'SLB1') {
    const batch = { at, size: BATCH_HEAD + bytes.readUInt32LE(at + 4), log: bytes.readBigUInt64LE(at + 8),
      number: bytes.readBigUInt64LE(at + 16), durable: bytes.readBigUInt64LE(at + 24) };
    const last = batches.at(-1);
    if (at + batch.size > bytes.length || (last && (batch.log !== last.log || batch.number !== last.number + 1n))) break;
    batches.push(batch);
    at = place(at + batch.size);
  }
  return { bytes, batches, end: at };
}

const logs = (data) => readdirSync(join(data, 'log')).filter((name) => name.endsWith('.log')).map((name) => join(data, 'log', name));

function write(path, bytes, at) {
  const file = openSync(path, 'r+');
  writeSync(file, bytes, 0, bytes.length, at);
  closeSync(file);
}

/** Half of a batch that was being written stands behind the last one of some logs; how many. */
export function tear(data, random) {
  let count = 0;
  for (const path of logs(data)) {
    const { bytes, batches, end } = batchesOf(path);
    if (batches.length === 0 || random(2) === 0) continue;
    const last = batches.at(-1);
    const torn = Buffer.from(bytes.subarray(last.at, last.at + last.size));
    torn.writeBigUInt64LE(last.number + 1n, 16);
    torn[torn.length - 1 - random(torn.length - BATCH_HEAD)] ^= 1 << random(8);
    const part = torn.subarray(0, 1 + random(torn.length));
    if (end + part.length > bytes.length) continue;
    write(path, part, end);
    // Sometimes the file is no longer than that.
    if (random(3) === 0) truncateSync(path, end + part.length);
    count++;
  }
  return count;
}

/** Up to which batch DIR/made knows a log acknowledged (storage/embed/made.h). */
function ackedOf(data, log) {
  const sector = readFileSync(join(data, 'made')).subarray(Number(log & 255n) * 512);
  return sector.readBigUInt64LE(16) === log >> 8n ? sector.readBigUInt64LE(40) : 0n;
}

/** Flips a bit of a batch that is known to be acknowledged, by a later one of its log or by
 *  DIR/made, or cuts the file there when nothing stands behind; null when there is none, else
 *  { path, isLast, undo }. */
export function flip(data, random) {
  const paths = logs(data), first = random(paths.length || 1);
  for (let i = 0; i < paths.length; i++) {
    const path = paths[(first + i) % paths.length];
    const { bytes, batches } = batchesOf(path);
    if (batches.length === 0) continue;
    const last = batches.at(-1), acked = ackedOf(data, last.log);
    const victims = batches.filter((batch) => batch.number <= last.durable || batch.number <= acked);
    if (victims.length === 0) continue;
    const isLast = acked >= last.number && random(2) === 0;
    const victim = isLast ? last : victims[random(victims.length)], at = victim.at + random(victim.size);
    // What is cut is missed by the file's name only when no later file has more.
    const isCut = isLast && path === paths.filter((other) => batchesOf(other).batches[0]?.log === last.log).at(-1) && random(2) === 0;
    if (isCut) truncateSync(path, at);
    else write(path, Buffer.from([bytes[at] ^ (1 << random(8))]), at);
    return { path, isLast, undo: () => isCut ? write(path, bytes.subarray(at), at) : write(path, bytes.subarray(at, at + 1), at) };
  }
  return null;
}
