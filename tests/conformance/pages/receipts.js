// Read receipts in a page: what a client does with the RPC methods and the companion channel.
//
//   begin({ url, token, user, channel, smallGroup })
//
// Counts stand under one's own messages, and in a small group who they are; a click lists
// them.  What scrolls into view is read: posted at most every 500 ms, the newest only.
'use strict';

const POST_EVERY_MS = 500;
const COUNTED = 100; // messages whose counts are kept
const SMALL_GROUP = 8;
const LIST = 50;

const $ = (id) => document.getElementById(id);
const make = (tag, className, text = '') => Object.assign(document.createElement(tag), { className, textContent: text });
const hue = (user) => ([...user].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 65521, 7) * 137) % 360;

function face(user) {
  const made = make('span', 'face', user[0].toUpperCase());
  made.style.background = `hsl(${hue(user)} 55% 45%)`;
  made.title = user;
  return made;
}

function begin({ url, token, user, channel }) {
  const messages = new Map(); // offset → { element, user, readers: Set, count, eligible }
  const page = { posts: 0, moves: 0, read: 0, unread: 0 };
  let wanted = 0, timer = null, people = 0;
  window.page = page;
  $('title').textContent = `# ${channel.split(':').pop()}`;
  const centrifuge = new Centrifuge(url, { token, timeout: 30000 });
  const rpc = async (method, data) => (await centrifuge.rpc(method, { channel, ...data })).data;

  /* --- what is mine ------------------------------------------------------------- */

  function showMe() {
    $('me').textContent = user;
    if (page.unread > 0) $('me').append(make('i', '', page.unread));
  }

  /** The newest that was seen, in one post for many. */
  function seen(offset) {
    wanted = Math.max(wanted, offset);
    if (timer !== null || wanted <= page.read) return;
    timer = setTimeout(async () => {
      timer = null;
      page.posts++;
      ({ offset: page.read } = await rpc('receipt.read', { offset: wanted }));
      seen(wanted);
    }, POST_EVERY_MS);
  }
  const watcher = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) seen(Number(target.dataset.offset));
  }, { root: $('messages'), threshold: 0.5 });

  const isAtEnd = () => $('messages').scrollTop + $('messages').clientHeight >= $('messages').scrollHeight - 40;
  const toEnd = () => { $('messages').scrollTop = $('messages').scrollHeight; };

  /* --- what others have read ------------------------------------------------------ */

  function showReceipt(offset) {
    const message = messages.get(offset);
    if (!message || message.user !== user) return;
    message.receipt.replaceChildren();
    const faces = make('span', 'faces');
    if (people <= SMALL_GROUP) faces.append(...[...message.readers].sort().map(face));
    const stays = isAtEnd();
    message.receipt.append(faces, `Read by ${message.count} of ${message.eligible}`);
    if (stays) toEnd();
  }

  async function showList(offset) {
    for (const side of ['readers', 'nonreaders']) {
      const { users } = await rpc(`receipt.${side}`, { offset, limit: LIST });
      $(side).replaceChildren(...users.map(({ user: name, read_at: at }) => {
        const row = make('li', '');
        row.append(face(name), name, make('time', '', at ? new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }) : ''));
        return row;
      }));
    }
    document.querySelector('dialog').showModal();
  }

  async function count(offsets) {
    const mine = offsets.filter((offset) => messages.get(offset)?.user === user).slice(-COUNTED);
    if (mine.length === 0) return;
    const { counts, eligible } = await rpc('receipt.counts', { offsets: mine });
    people = Math.max(people, ...eligible.map((n) => n + 1));
    $('people').textContent = `${people} members`;
    await Promise.all(mine.map(async (offset, i) => {
      const message = messages.get(offset);
      Object.assign(message, { count: counts[i], eligible: eligible[i] });
      if (people <= SMALL_GROUP && counts[i] > 0)
        message.readers = new Set((await rpc('receipt.readers', { offset, limit: SMALL_GROUP })).users.map((one) => one.user));
      showReceipt(offset);
    }));
  }

  function onMoves(moves) {
    for (const { user: who, from, to } of moves)
      for (const [offset, message] of messages) {
        if (offset <= from || offset > to || message.user === who || message.readers.has(who)) continue;
        message.readers.add(who);
        message.count++;
        showReceipt(offset);
      }
    page.moves += moves.length;
  }

  function onCounts(counts) {
    for (const { offset, readers, eligible } of counts) {
      const message = messages.get(offset);
      if (!message) continue;
      Object.assign(message, { count: readers, eligible });
      showReceipt(offset);
    }
  }

  /* --- messages -------------------------------------------------------------------- */

  function show({ offset, data, info }) {
    if (messages.has(offset)) return;
    const from = info?.user ?? '';
    const element = make('div', from === user ? 'message mine' : 'message');
    element.dataset.offset = offset;
    const receipt = make('button', 'receipt');
    receipt.onclick = () => showList(offset);
    element.append(make('span', 'from', from === user ? '' : from), make('div', 'text', data.text));
    if (from === user) element.append(receipt);
    const stays = isAtEnd();
    $('messages').append(element);
    if (stays) toEnd();
    messages.set(offset, { element, receipt, user: from, readers: new Set(), count: 0, eligible: 0 });
    watcher.observe(element);
  }

  const subscription = centrifuge.newSubscription(channel);
  subscription.on('publication', (publication) => {
    show(publication);
    count([publication.offset]);
  });
  subscription.on('subscribed', async () => {
    const { publications } = await subscription.history({ limit: COUNTED, since: null, reverse: true });
    publications.reverse().forEach(show);
    await count([...messages.keys()]);
    page.isReady = true;
  });
  const receipts = centrifuge.newSubscription(`receipts:${channel}`);
  receipts.on('publication', ({ data }) => {
    if (data.moves) onMoves(data.moves);
    if (data.counts) onCounts(data.counts);
    if (data.members) count([...messages.keys()]);
  });
  centrifuge.on('message', ({ data }) => {
    if (data.receipt?.channel !== channel) return;
    page.unread = data.receipt.unread;
    page.read = Math.max(page.read, data.receipt.read);
    showMe();
  });
  document.querySelector('form').onsubmit = (event) => {
    event.preventDefault();
    const input = document.querySelector('input');
    if (input.value !== '') rpc('message.send', { data: { text: input.value }, key: crypto.randomUUID() });
    input.value = '';
  };
  document.querySelector('dialog').onclick = (event) => { if (event.target.tagName === 'DIALOG') event.target.close(); };
  showMe();
  receipts.subscribe();
  subscription.subscribe();
  centrifuge.connect();
}
