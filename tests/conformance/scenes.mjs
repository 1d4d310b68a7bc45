// The scenes of script.mjs: a name, what is done, the lines that must come.
// A row of four plays on the wire that its last says.
import { client as options } from './script.mjs';

const now = () => Math.floor(Date.now() / 1000);

export const scenes = [
  ['connect, disconnect and connect again', async (s) => {
    const ann = await s.join('ann', { data: s.pack({ hello: 1 }), name: 'scene', version: '1.2', headers: { a: 'b' } });
    const isUuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(ann.id);
    ann.centrifuge.disconnect();
    ann.centrifuge.connect();
    await s.until(() => ann.connects === 2, 'ann is back');
    return [isUuid ? 'a UUID' : ann.id, ...ann.log];
  }, ['a UUID', 'connecting 0 connect called', 'connected by websocket', 'disconnected 0 disconnect called',
    'connecting 0 connect called', 'connected by websocket']],

  ['connects that are refused', async (s) => {
    const lines = [];
    let asked = 0;
    const rows = [{ token: 'no token' }, { token: '' }, { claims: { exp: now() - 9 } },
      { token: '', getToken: async () => { asked++; return s.at.token({ sub: 'u', exp: asked > 1 ? now() + 60 : now() - 9 }); } }];
    for (const row of rows) {
      const made = await s.make('eve', row);
      made.centrifuge.connect();
      await s.until(() => made.log.some((line) => /^(dis)?connected/.test(line)), 'an answer');
      lines.push(...made.log, '-');
      made.centrifuge.disconnect();
    }
    return [...lines, `${asked} tokens`];
  }, ['connecting 0 connect called', 'disconnected 3500 invalid token', '-',
    'connecting 0 connect called', 'disconnected 3501 bad request', '-',
    'connecting 0 connect called', 'error connect 109 token expired',
    'error configuration 12 token expired but no getToken function set in the configuration', 'disconnected 1 unauthorized', '-',
    'connecting 0 connect called', 'error connect 109 token expired', 'connected by websocket', '-', '2 tokens']],

  ['subscribe, publish, unsubscribe, subscribe', async (s) => {
    const ann = await s.join('ann', { claims: { info: { face: ':)' } } }), bob = await s.join('bob');
    const a = await s.listen(ann, 'chat:one'), b = await s.listen(bob, 'chat:one', { data: s.pack({ why: 'not' }) });
    await a.subscription.publish(s.pack({ text: 'ü€😀\n' }));
    await s.lines(b, 3);
    await bob.centrifuge.publish(s.name('chat:one'), s.pack([null, 1.5e300, '', false]));
    await s.api('publish', { channel: s.name('chat:one'), data: 'tagged', tags: { k: 'v', ä: '' } });
    await s.lines(b, 5);
    b.subscription.unsubscribe();
    await s.publish('chat:one', 4);
    await s.lines(a, 6);
    b.subscription.subscribe();
    await s.until(() => b.subscription.state === 'subscribed', 'bob is back');
    await s.publish('chat:one', 5);
    await s.lines(a, 7);
    await s.until(() => b.log.at(-1).includes('"n":5'), 'bob has the last');
    return [...a.log, '-', ...b.log];
  }, ['subscribing 0 subscribe called', 'subscribed recoverable positioned @0',
    'publication @1 {"text":"ü€😀\\n"} by ann of ann {"face":":)"}', 'publication @2 [null,1.5e+300,"",false] by bob of bob',
    'publication @3 "tagged" {"k":"v","ä":""}', 'publication @4 {"n":4}', 'publication @5 {"n":5}', '-',
    'subscribing 0 subscribe called', 'subscribed recoverable positioned @0',
    'publication @1 {"text":"ü€😀\\n"} by ann of ann {"face":":)"}', 'publication @2 [null,1.5e+300,"",false] by bob of bob',
    'publication @3 "tagged" {"k":"v","ä":""}', 'unsubscribed 0 unsubscribe called', 'subscribing 0 subscribe called',
    'subscribed recoverable positioned wasRecovering recovered hasRecoveredPublications @3',
    'publication @4 {"n":4}', 'publication @5 {"n":5}']],

  ['a question behind a change in one frame sees it', async (s) => {
    const ann = await s.join('ann'), lines = [];
    const { subscription } = await s.listen(ann, 'chat:behind');
    for (let n = 1; n <= 5; n++) {
      ann.centrifuge.startBatching();
      const said = subscription.publish(s.pack(n)), seen = subscription.history({ limit: 9 });
      const again = subscription.history({ limit: 1, reverse: true });
      ann.centrifuge.stopBatching();
      await said;
      lines.push(`${(await seen).publications.length} up to ${s.show((await again).publications[0].data)}`);
    }
    const room = ann.centrifuge.newSubscription(s.name('room:behind'));
    ann.centrifuge.startBatching();
    room.subscribe();
    const stats = ann.centrifuge.presenceStats(s.name('room:behind')), all = ann.centrifuge.presence(s.name('room:behind'));
    ann.centrifuge.stopBatching();
    return [...lines, await s.told(stats, (r) => `${r.numClients} client`), await s.told(all, (r) => `${Object.keys(r.clients).length} client`)];
  }, ['1 up to 1', '2 up to 2', '3 up to 3', '4 up to 4', '5 up to 5', '1 client', '1 client']],

  ['subscriptions that are refused', async (s) => {
    const ann = await s.join('ann', { claims: { channels: [s.name('live:mine')] } });
    const lines = [];
    for (const [channel, more] of [['nowhere:x'], ['shut:x'], ['chat:é'], [`chat:${'x'.repeat(256)}`], ['live:mine'], ['$chat:x'],
      ['list:x#bob'], ['chat:x', { tagsFilter: { key: 'k', cmp: 'eq', val: 'v' } }], ['shut:y', { token: 'no token' }]])
      lines.push((await s.listen(ann, channel, more)).log.at(-1));
    for (let n = 1; n <= options.channel_limit; n++) lines.push((await s.listen(ann, `live:${n}`)).log.at(-1));
    const wrong = await s.at.token({ sub: s.name('ann'), channel: s.name('shut:other') });
    const also = await s.join('ann');
    also.centrifuge.newSubscription(s.name('shut:wrong'), { token: wrong }).subscribe();
    await s.until(() => also.centrifuge.state === 'disconnected', 'it ended');
    return [...lines, also.log.at(-1)];
  }, ['unsubscribed 102 unknown channel', 'unsubscribed 103 permission denied', 'unsubscribed 107 bad request',
    'unsubscribed 107 bad request', 'unsubscribed 105 already subscribed', 'unsubscribed 103 permission denied',
    'unsubscribed 103 permission denied', 'unsubscribed 107 bad request', 'unsubscribed 103 permission denied',
    ...Array(options.channel_limit - 1).fill('subscribed'), 'unsubscribed 106 limit exceeded', 'disconnected 3500 invalid token']],

  ['publications that are refused', async (s) => {
    const { centrifuge } = await s.join('ann');
    const lines = [];
    for (const [channel, value] of [['nowhere:x', 1], ['shut:x', 1], ['live:x', 1], ['chat:é', 1], ['object:x', [1]], ['object:x', { a: 1 }]])
      lines.push(await s.told(centrifuge.publish(s.name(channel), s.pack(value))));
    return lines;
  }, ['102 unknown channel', '103 permission denied', '103 permission denied', '107 bad request', '107 bad request', 'done']],

  ['presence and its counts', async (s) => {
    const ann = await s.join('ann', { claims: { info: { face: ':)' } } }), also = await s.join('ann'), bob = await s.join('bob');
    const token = await s.at.token({ sub: s.name('bob'), channel: s.name('room:p'), info: { seat: 4 } });
    const all = async (from) => [
      await s.told(from.presence(s.name('room:p')), ({ clients }) => Object.entries(clients)
        .map(([id, info]) => `${id === info.client ? '' : 'not '}${s.who(info)}`).sort().join(', ')),
      await s.told(from.presenceStats(s.name('room:p')), ({ numClients, numUsers }) => `${numClients} clients, ${numUsers} users`)];
    const lines = await all(ann.centrifuge);
    for (const made of [ann, also]) await s.listen(made, 'room:p');
    const feed = await s.listen(bob, 'room:p', { token });
    lines.push(...await all(ann.centrifuge), ...await all(bob.centrifuge));
    lines.push(await s.told(feed.subscription.presence(), ({ clients }) => `${Object.keys(clients).length} by the subscription`));
    lines.push(await s.told(feed.subscription.presenceStats(), ({ numUsers }) => `${numUsers} by the subscription`));
    feed.subscription.unsubscribe();
    also.centrifuge.disconnect();
    await s.until(async () => (await ann.centrifuge.presenceStats(s.name('room:p'))).numClients === 1, 'two left');
    lines.push(...await all(ann.centrifuge), ...await all(bob.centrifuge));
    for (const channel of ['nowhere:x', 'chat:x', 'room:é'])
      lines.push(await s.told(bob.centrifuge.presence(s.name(channel))), await s.told(bob.centrifuge.presenceStats(s.name(channel))));
    return lines;
  }, ['103 permission denied', '103 permission denied',
    ...Array(2).fill(['ann of ann, ann of ann {"face":":)"}, bob of bob / {"seat":4}', '3 clients, 2 users']).flat(),
    '3 by the subscription', '2 by the subscription', 'ann of ann {"face":":)"}', '1 clients, 1 users',
    '103 permission denied', '103 permission denied', '102 unknown channel', '102 unknown channel',
    '108 not available', '108 not available', '107 bad request', '107 bad request']],

  ['joins and leaves', async (s) => {
    const ann = await s.join('ann', { claims: { info: { face: ':)' } } }), bob = await s.join('bob'), cid = await s.join('cid');
    const feed = await s.listen(ann, 'room:j', { joinLeave: true });
    await s.lines(feed, 3);
    const quiet = await s.listen(bob, 'room:j');
    await s.lines(feed, 4);
    await s.listen(cid, 'room:j', { joinLeave: true });
    await s.lines(feed, 5);
    cid.centrifuge.disconnect();
    await s.lines(feed, 6);
    quiet.subscription.unsubscribe();
    await s.lines(feed, 7);
    return [...feed.log, '-', ...quiet.log];
  }, ['subscribing 0 subscribe called', 'subscribed', 'join ann of ann {"face":":)"}', 'join bob of bob', 'join cid of cid',
    'leave cid of cid', 'leave bob of bob', '-', 'subscribing 0 subscribe called', 'subscribed', 'unsubscribed 0 unsubscribe called']],

  ['history, forwards, backwards, since', async (s) => {
    const { centrifuge } = await s.join('ann');
    await s.publish('chat:h', 1, 9);
    await centrifuge.publish(s.name('chat:h'), s.pack('last'));
    const name = s.name('chat:h');
    const { epoch } = await centrifuge.history(name);
    const page = (options, channel = name) => s.told(centrifuge.history(channel, options), (got) =>
      `${got.publications.map((pub) => pub.offset).join(' ')} of ${got.offset}${got.epoch === epoch ? '' : ', another epoch'}`);
    const whole = await centrifuge.history(name, { limit: 2, since: { offset: 8, epoch } });
    return [...whole.publications.map((pub) => s.pub(pub)), await page({}), await page({ limit: 3 }), await page({ limit: 1000 }),
      await page({ limit: 3, since: { offset: 4, epoch } }), await page({ limit: 3, since: { offset: 9, epoch } }),
      await page({ limit: 3, since: { offset: 10, epoch } }), await page({ limit: 3, reverse: true }),
      await page({ limit: 3, reverse: true, since: { offset: 4, epoch } }), await page({ limit: 1, since: { offset: 1, epoch: 'other' } }),
      await page({ limit: 1, reverse: true, since: { offset: 0, epoch } }), await page({}, s.name('live:h')),
      await page({}, s.name('shut:h')), await page({}, s.name('nowhere:h')), await page({}, s.name('chat:é'))];
  }, ['@9 {"n":9}', '@10 "last" by ann of ann', ' of 10', '1 2 3 of 10', '1 2 3 4 5 6 7 8 9 10 of 10', '5 6 7 of 10', '10 of 10', ' of 10',
    '10 9 8 of 10', '3 2 1 of 10', '112 unrecoverable position', '107 bad request', '108 not available',
    '103 permission denied', '102 unknown channel', '107 bad request']],

  ['calls by name, and send, which nothing takes', async (s) => {
    const ann = await s.join('ann'), bob = await s.join('bob');
    const feed = await s.listen(bob, 'chat:r');
    const call = (method, data) => s.told(ann.centrifuge.rpc(method, s.pack(data)), ({ data: got }) => JSON.stringify(Object.keys(s.unpack(got))));
    const channel = s.name('chat:r');
    const lines = [await call('no.such', {}), await call('', {}), await call('message.send', { channel, data: { hi: 1 }, key: 'k' }),
      await call('message.send', { channel, data: { hi: 2 }, key: 'k' }), await call('message.send', { channel: 'nowhere:r', data: 1, key: 'k' }),
      await call('receipt.read', { channel, offset: 1 })];
    await s.api('members_set', { channel, members: [s.name('ann')] });
    lines.push(await call('receipt.read', { channel, offset: 1 }), await call('receipt.counts', { channel, offsets: [1] }));
    await s.lines(feed, 3);
    await ann.centrifuge.send(s.pack({ a: 1 }));
    await s.until(() => ann.centrifuge.state === 'disconnected', 'nothing takes it');
    return [...lines, feed.log.at(-1), `${feed.log.length} lines`, ann.log.at(-1)];
  }, ['108 not available', '108 not available', '["offset","epoch","id","time"]', '["offset","epoch","id","time"]', '102 unknown channel', '103 permission denied',
    '["offset"]', '["counts","eligible"]', 'publication @1 {"hi":1} by ann of ann', '3 lines', 'disconnected 3508 not available']],

  ['tokens are renewed on the way', async (s) => {
    let asked = 0, subs = 0;
    const ann = await s.join('ann', { getToken: async () =>
      s.at.token({ sub: s.name('ann'), exp: now() + (asked++ < s.placed ? 4 : 900) }) });
    const feed = await s.listen(ann, 'shut:t', { getToken: async ({ channel }) =>
      s.at.token({ sub: s.name('ann'), channel, exp: now() + (subs++ === 0 ? 4 : 900) }) });
    await s.until(() => asked >= 2 && subs === 2, 'both were renewed');
    await s.publish('shut:t', 1);
    await s.lines(feed, 3);
    return [`${ann.connects} connect`, ...feed.log];
  }, ['1 connect', 'subscribing 0 subscribe called', 'subscribed', 'publication @1 {"n":1}']],

  ['pings are answered', async (s) => {
    const ann = await s.make('ann', { url: s.at.busyUrl });
    ann.centrifuge.connect();
    await s.until(() => ann.WebSocket.last?.pings >= 2 && ann.WebSocket.last.pongs >= 2, 'two went and came');
    return [ann.centrifuge.state];
  }, ['connected']],

  ['commands in one frame, also with connect', async (s) => {
    const ann = await s.make('ann');
    const first = s.listen(ann, 'chat:b');
    ann.centrifuge.connect();
    const feed = await first;
    const socket = ann.WebSocket.last, lines = [`${socket.sentCount} frame`];
    ann.centrifuge.startBatching();
    const name = s.name('chat:b');
    const answers = [ann.centrifuge.publish(name, s.pack(1)), ann.centrifuge.publish(name, s.pack(2)), ann.centrifuge.publish('nowhere:b', s.pack(3)),
      ann.centrifuge.rpc('no.such', s.pack({})), ann.centrifuge.presence(name)].map((call) => s.told(call));
    ann.centrifuge.stopBatching();
    lines.push(...await Promise.all(answers), `${socket.sentCount} frames`);
    lines.push(await s.told(ann.centrifuge.history(name, { limit: 9 }), ({ publications }) => publications.map((pub) => s.show(pub.data)).join()));
    await s.lines(feed, 4);
    return [...lines, ...feed.log];
  }, ['1 frame', 'done', 'done', '102 unknown channel', '108 not available', '108 not available', '2 frames', '1,2', 'subscribing 0 subscribe called',
    'subscribed recoverable positioned @0', 'publication @1 1 by ann of ann', 'publication @2 2 by ann of ann']],

  ['server-side subscriptions', async (s) => {
    const [of, other, late] = ['chat:s', 'live:s', 'room:s'].map((name) => s.name(name));
    await s.publish('chat:s', 1, 2);
    const ann = await s.join('ann', { claims: { subs: { [of]: { data: { from: 'token' }, info: { seat: 1 } }, [other]: {} } } });
    await s.publish('chat:s', 3);
    await s.lines(ann, 5);
    await s.publish('live:s', 1);
    await s.lines(ann, 6);
    await s.api('subscribe', { user: s.name('ann'), channel: late, data: { from: 'API' },
      override: { join_leave: { value: true }, force_push_join_leave: { value: true } } });
    await s.lines(ann, 8);
    const bob = await s.join('bob');
    await s.listen(bob, 'room:s');
    await s.lines(ann, 9);
    bob.centrifuge.disconnect();
    await s.lines(ann, 10);
    await s.api('unsubscribe', { user: s.name('ann'), channel: late });
    await s.lines(ann, 11);
    await s.away(ann, () => s.publish('chat:s', 4, 5));
    await s.lines(ann, 19);
    const first = ann.log.slice(0, 4), last = ann.log.slice(11, 17); // channels come in any order
    return [...first.sort(), ...ann.log.slice(4, 11), ...last.sort(), ...ann.log.slice(17)];
  }, ['connected by websocket', 'connecting 0 connect called', 'subscribed chat:s recoverable positioned @2 {"from":"token"}', 'subscribed live:s',
    'publication chat:s @3 {"n":3}', 'publication live:s @ {"n":1}', 'subscribed room:s {"from":"API"}', 'join room:s ann of ann',
    'join room:s bob of bob', 'leave room:s bob of bob', 'unsubscribed room:s',
    'connected by websocket', 'connecting 1 transport closed', 'subscribed chat:s recoverable positioned wasRecovering recovered hasRecoveredPublications @3 {"from":"token"}',
    'subscribed live:s', 'subscribing chat:s', 'subscribing live:s', 'publication chat:s @4 {"n":4}', 'publication chat:s @5 {"n":5}']],

  ['away for 30, and for more than is kept', async (s) => {
    const ann = await s.join('ann');
    const long = await s.listen(ann, 'chat:away'), short = await s.listen(ann, 'short:away');
    await s.publish('chat:away', 1);
    await s.publish('short:away', 1);
    await s.lines(long, 3);
    await s.lines(short, 3);
    await s.away(ann, async () => { await s.publish('chat:away', 2, 31); await s.publish('short:away', 2, 9); });
    await s.lines(long, 35);
    await s.lines(short, 5);
    await s.publish('short:away', 10);
    await s.lines(short, 6);
    const got = long.log.slice(5).map((line) => Number(/@(\d+)/.exec(line)[1]));
    return [...long.log.slice(0, 5), `${got[0]} to ${got.at(-1)}, ${got.every((n, i) => n === got[0] + i)}`, '-', ...short.log];
  }, ['subscribing 0 subscribe called', 'subscribed recoverable positioned @0', 'publication @1 {"n":1}', 'subscribing 1 transport closed',
    'subscribed recoverable positioned wasRecovering recovered hasRecoveredPublications @1', '2 to 31, true', '-',
    'subscribing 0 subscribe called', 'subscribed recoverable positioned @0', 'publication @1 {"n":1}', 'subscribing 1 transport closed',
    'subscribed recoverable positioned wasRecovering @9', 'publication @10 {"n":10}']],

  ['from a position that the application knows', async (s) => {
    const { centrifuge } = await s.join('ann');
    await s.publish('chat:since', 1, 3);
    const { epoch } = await centrifuge.history(s.name('chat:since'));
    const lines = [];
    for (const since of [{ offset: 1, epoch }, { offset: 3, epoch }, { offset: 1, epoch: 'other' }, { offset: 7, epoch }, { offset: 0, epoch: '' }]) {
      const feed = await s.listen({ centrifuge, user: 'ann' }, 'chat:since', { since });
      await s.until(() => !feed.log[1].includes('hasRecovered') || feed.log.at(-1).includes('@3'), 'all came');
      lines.push(...feed.log.slice(1), '-');
      feed.subscription.unsubscribe();
      centrifuge.removeSubscription(feed.subscription);
    }
    return lines;
  }, ['subscribed recoverable positioned wasRecovering recovered hasRecoveredPublications @1', 'publication @2 {"n":2}', 'publication @3 {"n":3}', '-',
    'subscribed recoverable positioned wasRecovering recovered @3', '-', 'subscribed recoverable positioned wasRecovering @3', '-',
    'subscribed recoverable positioned wasRecovering @3', '-',
    'subscribed recoverable positioned wasRecovering recovered hasRecoveredPublications @0', 'publication @1 {"n":1}', 'publication @2 {"n":2}',
    'publication @3 {"n":3}', '-']],

  ['state that the application loads, again when it is too old', async (s) => {
    const ann = await s.join('ann');
    await s.publish('short:state', 1, 3);
    let loaded = 0;
    const feed = await s.listen(ann, 'short:state', { getState: async () => {
      const { offset, epoch } = await ann.centrifuge.history(s.name('short:state'));
      return { offset: loaded++ === 0 ? offset - 1 : offset, epoch };
    } });
    await s.lines(feed, 3);
    await s.away(ann, () => s.publish('short:state', 4, 9));
    await s.until(() => feed.subscription.state === 'subscribed' && loaded === 2, 'loaded anew');
    await s.publish('short:state', 10);
    await s.until(() => feed.log.at(-1).includes('@10'), 'live again');
    return [`loaded ${loaded} times`, ...feed.log];
  }, ['loaded 2 times', 'subscribing 0 subscribe called', 'subscribed recoverable positioned wasRecovering recovered hasRecoveredPublications @2', 'publication @3 {"n":3}',
    'subscribing 1 transport closed', 'subscribed recoverable positioned wasRecovering recovered @9', 'publication @10 {"n":10}']],

  ['the newest one only: cache recovery', async (s) => {
    const ann = await s.join('ann');
    for (const name of ['last:c', 'auto:c']) await s.publish(name, 1, 3);
    const last = await s.listen(ann, 'last:c'), auto = await s.listen(ann, 'auto:c'), none = await s.listen(ann, 'auto:none');
    await s.lines(auto, 3);
    await s.away(ann, async () => { for (const name of ['last:c', 'auto:c']) await s.publish(name, 4, 8); });
    await s.lines(last, 5);
    await s.lines(auto, 6);
    await s.lines(none, 4);
    return [...last.log, '-', ...auto.log, '-', ...none.log];
  }, ['subscribing 0 subscribe called', 'subscribed recoverable positioned @3', 'subscribing 1 transport closed',
    'subscribed recoverable positioned wasRecovering recovered hasRecoveredPublications @3', 'publication @8 {"n":8}', '-',
    'subscribing 0 subscribe called', 'subscribed recoverable positioned wasRecovering recovered hasRecoveredPublications @0', 'publication @3 {"n":3}',
    'subscribing 1 transport closed', 'subscribed recoverable positioned wasRecovering recovered hasRecoveredPublications @3', 'publication @8 {"n":8}', '-',
    'subscribing 0 subscribe called', 'subscribed recoverable positioned wasRecovering @0', 'subscribing 1 transport closed',
    'subscribed recoverable positioned wasRecovering @0']],

  ['what is asked for and what is forced', async (s) => {
    const ann = await s.join('ann');
    await s.publish('may:f', 1);
    await s.publish('pos:f', 1);
    const lines = [];
    for (const [channel, options] of [['may:f', {}], ['may:f', { positioned: true }], ['may:f', { recoverable: true }], ['pos:f', {}],
      ['pos:f', { recoverable: true }], ['live:f', { positioned: true, recoverable: true }], ['chat:f', { delta: 'fossil' }]]) {
      const feed = await s.listen(ann, channel, options);
      lines.push(feed.log.at(-1));
      feed.subscription.unsubscribe();
      ann.centrifuge.removeSubscription(feed.subscription);
    }
    return lines;
  }, ['subscribed', 'subscribed positioned @1', 'subscribed recoverable positioned @1', 'subscribed positioned @1', 'subscribed recoverable positioned @1',
    'subscribed', 'subscribed recoverable positioned @0']],

  ['a backend that ends subscriptions and connections', async (s) => {
    const user = s.name('ann'), ann = await s.join('ann');
    const one = await s.listen(ann, 'chat:e'), two = await s.listen(ann, 'live:e');
    await s.api('unsubscribe', { user, channel: s.name('chat:e') });
    await s.lines(one, 3);
    const ended = async (method, body) => {
      const before = ann.log.length, connects = ann.connects;
      await s.api(method, { user, ...body });
      await s.until(() => ann.centrifuge.state === 'disconnected' || ann.connects > connects, 'it ended');
      if (ann.centrifuge.state === 'disconnected') {
        ann.centrifuge.connect();
        await s.until(() => ann.connects > connects, 'ann is back');
      }
      return ann.log.slice(before).filter((line) => !line.startsWith('connected') && !line.startsWith('connecting 0'));
    };
    const lines = [];
    for (const disconnect of [undefined, { code: 4000, reason: 'come back' }, { code: 4500, reason: 'stay away' }, { code: 3000 }, { code: 3010 }])
      lines.push(...await ended('disconnect', { disconnect }));
    lines.push(...await ended('refresh', { expired: true }), ...await ended('disconnect', { client: ann.id }));
    await s.api('publish', { channel: s.name('live:e'), data: 'all over' });
    await s.until(() => two.log.at(-1).includes('all over'), 'live again');
    return [...lines, '-', ...one.log, '-', two.log.at(-1)];
  }, ['disconnected 3503 force disconnect', 'connecting 4000 come back', 'disconnected 4500 stay away', 'connecting 3000 connection closed',
    'connecting 3010 insufficient state', 'connecting 3005 connection expired', 'disconnected 3503 force disconnect', '-',
    'subscribing 0 subscribe called', 'subscribed recoverable positioned @0', 'unsubscribed 2000 server unsubscribe', '-', 'publication @ "all over"']],

  ['too fast: temporary, and asked again', async (s) => {
    const ann = await s.make('ann', { url: s.at.busyUrl });
    ann.centrifuge.connect();
    await s.until(() => ann.connects === 1, 'ann is connected');
    ann.centrifuge.startBatching(); // what is in one frame comes at once
    const answers = Array.from({ length: 8 }, () => s.told(ann.centrifuge.rpc('no.such', s.pack({}))));
    await new Promise((done) => setTimeout(done, 0)); // calls take some promises before they are in the batch
    const listening = s.listen(ann, 'chat:fast', { minResubscribeDelay: 100, maxResubscribeDelay: 400 });
    ann.centrifuge.stopBatching();
    const feed = await listening;
    return [[...new Set(await Promise.all(answers))].sort().join(' · '), ...new Set(feed.log)];
  }, ['108 not available · 111 too many requests, temporary', 'subscribing 0 subscribe called',
    'error subscribe 111 too many requests, temporary', 'subscribed recoverable positioned @0']],

  ['bytes that are not JSON', async (s) => {
    const ann = await s.join('ann', { claims: { b64info: 'AP8K' } }), bob = await s.join('bob'), name = s.name('chat:raw');
    const feed = await s.listen(bob, 'chat:raw');
    await ann.centrifuge.publish(name, Uint8Array.from([0, 255, 10, 128]));
    await s.api('publish', { channel: name, b64data: 'gAE=' });
    await ann.centrifuge.rpc('message.send', s.pack({ channel: name, data: { is: 'JSON' }, key: 'k' }));
    await s.lines(feed, 5);
    const { publications } = await ann.centrifuge.history(name, { limit: 3 });
    await s.api('subscribe', { user: s.name('ann'), channel: s.name('room:raw'), b64data: 'AAE=', b64info: 'Ag==' });
    await s.until(() => ann.log.length === 3, 'ann was told');
    const token = await s.at.token({ sub: s.name('bob'), channel: s.name('room:raw'), b64info: 'AwQ=', b64data: 'BQY=' });
    const room = await s.listen(bob, 'room:raw', { token, joinLeave: true });
    await s.lines(room, 3);
    const { clients } = await bob.centrifuge.presence(s.name('room:raw'));
    return [...feed.log.slice(2), ...publications.map((pub) => s.pub(pub)), ann.log.at(-1), ...room.log.slice(1),
      ...Object.values(clients).map((info) => s.who(info)).sort()];
  }, ['publication @1 <0 255 10 128> by ann of ann', 'publication @2 <128 1>', 'publication @3 {"is":"JSON"} by ann of ann',
    '@1 <0 255 10 128> by ann of ann', '@2 <128 1>', '@3 {"is":"JSON"} by ann of ann', // infos are JSON or none
    'subscribed room:raw <0 1>', 'subscribed <5 6>', 'join bob of bob', 'ann of ann', 'bob of bob'], 'protobuf'],
];
