// sluice work: what gateways publish reaches a command or a server, at least once, over
// failures of both and the death of a worker.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import test from 'node:test';
import { range } from './client.mjs';
import { BINARY, Gateway, until } from './gateway.mjs';
import { Redis } from './redis.mjs';

test('sluice work', async (t) => {
  const redis = await new Redis().start();
  t.after(() => redis.end());
  const gateway = new Gateway({ config: { storage: { engine: 'redis' },
    redis: { ...redis.patient, partitions: 128, streams: { enabled: true, conversations: true } } } });
  t.after(() => gateway.end());
  await gateway.start({ shards: 2 });
  const file = join(gateway.dir, 'config.json'); // where Gateway writes it
  const path = (name) => join(gateway.dir, name);
  const publish = (channel, data, more) => gateway.ask('publish', { channel, data, ...more });
  const workers = [];
  t.after(() => { for (const worker of workers) worker.child.kill('SIGKILL'); });

  function work(...args) {
    const worker = { out: '', err: '' };
    worker.child = spawn(BINARY, ['work', ...args, '--config', file], { stdio: ['ignore', 'pipe', 'pipe'] });
    worker.child.stdout.on('data', (bytes) => { worker.out += bytes; });
    worker.child.stderr.on('data', (bytes) => { worker.err += bytes; });
    worker.ended = new Promise((done) => worker.child.once('exit', (code, signal) => done(code ?? signal)));
    workers.push(worker);
    return worker;
  }
  const finish = async (...args) => {
    const worker = work(...args);
    const closed = new Promise((done) => worker.child.once('close', done)); // all it said is here
    const code = await worker.ended;
    await closed;
    return { code, out: worker.out, err: worker.err };
  };
  const lines = (name) => (existsSync(path(name)) ? readFileSync(path(name), 'utf8') : '').split('\n')
    .flatMap((line) => { try { return [JSON.parse(line)]; } catch { return []; } }); // half a line: of one that was killed
  const cli = (...words) => execFileSync('redis-cli', ['-p', String(redis.port), ...words], { encoding: 'utf8' });
  const keys = (pattern) => cli('KEYS', pattern).split('\n').filter(Boolean);
  const count = (script, ...words) => Number(cli('EVAL', `local n = 0 for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
    ${script} end return n`, '0', ...words));
  const pending = (group) => count(`local all = redis.pcall('XPENDING', key, ARGV[2])
    if not all.err then n = n + all[1] end`, '*}:group_msg', group);

  await t.test('a command gets every publication as a line, and the group has nothing left', async () => {
    for (const n of range(1, 30)) await publish(`chat:${n % 3}`, { n }, n === 1 ? { tags: { k: 'v' } } : {});
    const done = await finish('group_msg', '--group', 'search', '--once', '--exec', `cat >> ${path('search')}`);
    assert.deepEqual([done.code, done.out], [0, '']);
    assert.match(done.err, /30 done, 0 failed, 0 put aside/);
    const got = lines('search');
    assert.deepEqual(got.map((line) => line.payload.n).sort((a, b) => a - b), range(1, 30));
    for (const channel of range(0, 2).map((n) => `chat:${n}`)) {
      const of = got.filter((line) => line.conversation_id === channel);
      assert.deepEqual(of.map((line) => line.sequence_number), range(1, 10));
    }
    const first = got.find((line) => line.payload.n === 1);
    assert.deepEqual(first.tags, { k: 'v' });
    assert.deepEqual([first.topic, first.deliveries, first.sender_id], ['group_msg', 1, '']);
    assert.match(first.id, /^\d{13}-\d+$/);
    assert.ok(Math.abs(first.timestamp - Date.now()) < 600000);
    assert.equal(pending('search'), 0);
    assert.match((await finish('group_msg', '--group', 'search', '--once', '--exec', 'false')).err, /0 done/);
  });

  await t.test('the streams of conversations and their pointers are there for others', async () => {
    const [key] = keys('stream:conversation:*}:chat:1');
    assert.match(key, /^stream:conversation:\{p\d+\}:chat:1$/);
    assert.equal(Number(cli('XLEN', key)), 10);
    assert.equal(count(`n = n + redis.call('XLEN', key)`, 'stream:fanout:*'), 30);
  });

  await t.test('metrics tell how far a group is behind', async () => {
    const lag = async (group, name = 'lag') => {
      const text = await (await fetch(`${gateway.http}/metrics`)).text();
      return Number(new RegExp(`^sluice_store_group_${name}\\{topic="group_msg",group="${group}"\\} (\\d+)$`, 'm').exec(text)?.[1]);
    };
    await until(async () => await lag('search') === 0 && await lag('search', 'pending') === 0, 'search is up to date');
    count(`redis.call('XGROUP', 'CREATE', key, 'new', '0')`, '*}:group_msg');
    await until(async () => await lag('new') === 30, 'a new group is 30 behind');
  });

  await publish('chat:bad', { n: 0, bad: true });
  for (const n of range(1, 5)) await publish('chat:bad', { n });

  const got = [], statuses = [503, 429, 200];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (bytes) => { body += bytes; });
    request.on('end', () => {
      const status = statuses.shift() ?? 200;
      if (status === 200) got.push(...body.split('\n').filter(Boolean).map((line) => JSON.parse(line)));
      assert.equal(request.headers['content-type'], 'application/x-ndjson');
      response.writeHead(status).end();
    });
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => server.close());
  const url = `http://127.0.0.1:${server.address().port}/events`;

  // Each in a group of its own, so that none waits for another.
  await t.test('trouble of every kind', { concurrency: true }, async (t) => Promise.all([
    t.test('one that fails is tried alone, and put aside in the end', async () => {
      const command = `t=$(mktemp -p ${gateway.dir}); cat > $t; ! grep -q '"bad":true' $t && cat $t >> ${path('kept')}`;
      const worker = work('group_msg', '--group', 'picky', '--idle', '1s', '--deliveries', '2', '--wait', '100ms', '--exec', command);
      await until(() => /entry \d+-\d+ failed, 2 of 2 times: the command ended with exit code 1/.test(worker.err), 'it failed twice');
      await until(() => keys('*}:group_msg:dead').length === 1, 'it is a dead letter');
      worker.child.kill('SIGTERM');
      assert.equal(await worker.ended, 0);
      assert.match(worker.err, /35 done, 2 failed, 1 put aside as dead letters/);
      assert.equal(lines('kept').length, 35);
      assert.equal(pending('picky'), 0);
      assert.match(cli('XRANGE', keys('*}:group_msg:dead')[0], '-', '+'), /"bad":true[^]*dead_group\npicky/);
    }),
    t.test('trouble that passes holds the batch', async () => {
      writeFileSync(path('trouble'), '');
      const command = `test -e ${path('trouble')} && exit 75; cat >> ${path('later')}`;
      const worker = work('group_msg', '--group', 'later', '--wait', '100ms', '--exec', command);
      await until(() => /a batch waits: the command ended with exit code 75; it is tried again/.test(worker.err), 'it waits');
      assert.ok(pending('later') > 0);
      execFileSync('rm', [path('trouble')]);
      await until(() => lines('later').length === 36, 'all came');
      await until(() => pending('later') === 0, 'all is acknowledged');
      assert.ok(lines('later').every((line) => line.deliveries === 1), 'held, not taken over');
      worker.child.kill('SIGTERM');
      assert.equal(await worker.ended, 0);
    }),
    t.test('a killed worker leaves its entries to another', async () => {
      const first = work('group_msg', '--group', 'heirs', '--wait', '100ms', '--exec',
        `touch ${path('begun')}; until test -e ${path('ended')}; do sleep 0.05; done`);
      await until(() => existsSync(path('begun')), 'it works');
      assert.ok(pending('heirs') > 0);
      first.child.kill('SIGKILL');
      await first.ended;
      writeFileSync(path('ended'), ''); // its command knows nothing of that
      const second = work('group_msg', '--group', 'heirs', '--wait', '100ms', '--idle', '1s', '--exec', `cat >> ${path('heirs')}`);
      await until(() => new Set(lines('heirs').map((line) => line.id + line.conversation_id)).size === 36, 'everything is done');
      await until(() => pending('heirs') === 0, 'everything is acknowledged');
      assert.ok(lines('heirs').some((line) => line.deliveries === 2));
      second.child.kill('SIGINT');
      assert.equal(await second.ended, 0);
    }),
    t.test('a server gets them by POST; 5xx waits', async () => {
      const done = await finish('group_msg', '--group', 'web', '--once', '--batch', '10', '--post', url);
      assert.match(done.err, /a batch waits: the server answered 503/);
      assert.match(done.err, /36 done, 0 failed/);
      assert.equal(got.length, 36);
    }),
  ]));

  await t.test('what a server refuses is not acknowledged', async () => {
    statuses.push(422, 422);
    await publish('chat:web', { n: 1 });
    const refused = await finish('group_msg', '--group', 'web', '--once', '--post', url);
    assert.equal(refused.code, 1);
    assert.match(refused.err, /failed, 1 of 5 times: the server answered 422/);
    assert.equal(pending('web'), 1);
  });

  await t.test('a worker outlives Redis', async () => {
    const worker = work('group_msg', '--group', 'patient', '--wait', '100ms', '--exec', `cat >> ${path('patient')}`);
    await until(() => lines('patient').length === 37, 'it works');
    await redis.kill();
    await until(() => /the link to Redis is lost/.test(worker.err), 'it says so');
    await redis.start();
    await until(() => publish('chat:after', { n: 1 }).then(() => true, () => false), 'publishing works again');
    await until(() => lines('patient').some((line) => line.conversation_id === 'chat:after'), 'it goes on');
    worker.child.kill('SIGTERM');
    assert.equal(await worker.ended, 0);
  });

  await t.test('mistakes are told with the way out', async () => {
    const embedded = new Gateway();
    t.after(() => embedded.end());
    writeFileSync(join(embedded.dir, 'config.json'), JSON.stringify(embedded.config()));
    for (const [args, code, pattern] of [
      [['group_msgs', '--exec', 'true'], 2, /'group_msgs' is no topic; there are group_msg, offline_msg/],
      [['group_msg'], 2, /wants either --exec COMMAND or --post URL/],
      [['group_msg', '--exec', 'true', '--post', 'http://a'], 2, /wants either/],
      [['group_msg', '--post', 'localhost:80'], 2, /--post wants an address such as/],
      [['group_msg', '--exec', 'true', '--batch', '0'], 2, /--batch wants a number from 1 to 10000/],
      [['group_msg', '--exec', 'true', '--batch', '10001'], 2, /--batch wants/],
      [['group_msg', '--exec', 'true', '--idle', '999ms'], 2, /--idle wants at least 1000ms/],
      [['group_msg', '--exec', 'true', '--wait', '5'], 2, /--wait: /],
      [['group_msg', '--exec', 'true', '--group', 'a b'], 2, /--group wants up to 64 letters/],
      [[], 2, /work wants TOPIC/],
    ]) {
      const said = await finish(...args);
      assert.match(said.err, pattern, args.join(' '));
      assert.equal(said.code, code, args.join(' '));
    }
    const worker = spawn(BINARY, ['work', 'group_msg', '--exec', 'true', '--config', join(embedded.dir, 'config.json')]);
    let err = '';
    worker.stderr.on('data', (bytes) => { err += bytes; });
    assert.equal(await new Promise((done) => worker.once('close', done)), 2);
    assert.match(err, /work reads streams in Redis; set storage.engine to redis/);
  });
});
