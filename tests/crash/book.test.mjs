// The book of crash_gateway finds each thing that must not be.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Answers, bodyOf, Book, Ear } from './book.mjs';

const told = (id, offset) => ({ offset, data: { id, body: bodyOf(id) } });

/** Three messages of a channel, acknowledged at 1, 2 and 3. */
function book() {
  const made = new Book();
  for (const [i, id] of ['a', 'b', 'c'].entries()) {
    made.asked(id, 'room');
    made.acked(id, i + 1, 'e');
  }
  return made;
}

const finds = (name, kind, work) => test(`finds ${name}`, () => assert.throws(() => work(book()), (error) => error.kind === kind));

test('is content with the truth', () => {
  const made = book(), ear = new Ear(made, 'room', 'ann');
  made.asked('d', 'room');
  made.unknown('d');
  made.asked('e', 'room');
  made.acked('e', 0);
  ear.begin(3, 'e', { head: 3 });
  const demand = made.demand('room');
  made.audited('room', 0, [told('a', 1), told('b', 2), told('c', 3), told('d', 4), told('e', 5)], 5, demand);
  ear.hear(told('d', 4));
  ear.hear(told('e', 5));
  made.repeated('a', 1, 'e');
  made.audited('room', 3, [told('d', 4), told('e', 5)], 5, made.demand('room'));
});

finds('an acknowledged message that is gone', 'missing', (made) =>
  made.audited('room', 0, [told('a', 1), told('b', 2)], 2, made.demand('room')));
finds('a hole', 'missing', (made) => made.audited('room', 0, [told('a', 1), told('c', 3)], 3, made.demand('room')));
finds('a history that ends before its head', 'missing', (made) => made.audited('room', 0, [told('a', 1)], 3, { head: 0, unplaced: [] }));
finds('one that was acknowledged without a place', 'missing', (made) => {
  made.asked('d', 'room');
  made.acked('d', 0);
  made.audited('room', 0, [told('a', 1), told('b', 2), told('c', 3)], 3, made.demand('room'));
});
finds('an acknowledged message at another place', 'doubled', (made) => made.seen('room', told('a', 4), 'in history'));
finds('a place with another message', 'moved', (made) => {
  made.asked('d', 'room');
  made.seen('room', told('d', 2), 'in history');
});
finds('a second answer to a key', 'doubled', (made) => made.repeated('a', 4, 'e'));
finds('what nobody sent', 'phantom', (made) => made.seen('room', told('x', 4), 'delivered'));
finds('a message in another channel', 'phantom', (made) => made.seen('hall', told('a', 1), 'delivered'));
finds('a byte that changed', 'altered', (made) => made.seen('room', { offset: 1, data: { id: 'a', body: `${bodyOf('a')}!` } }, 'delivered'));
finds('a refused message that stands', 'refused', (made) => {
  made.asked('d', 'room');
  made.refused('d');
  made.seen('room', told('d', 4), 'delivered');
});
finds('a new epoch', 'epoch', (made) => made.repeated('a', 1, 'f'));
finds('a gap in what a listener gets', 'missing', (made) => {
  const ear = new Ear(made, 'room', 'ann');
  ear.begin(0, 'e', { head: 0 });
  ear.hear(told('b', 2));
});
finds('a publication twice', 'doubled', (made) => {
  const ear = new Ear(made, 'room', 'ann');
  ear.begin(0, 'e', { head: 0 });
  ear.hear(told('a', 1));
  ear.hear(told('a', 1));
});
finds('a listener who begins before what was told', 'missing', (made) => new Ear(made, 'room', 'ann').begin(1, 'e', made.demand('room')));
finds('answers out of order', 'reordered', () => {
  const answers = new Answers();
  answers.take('room', 2, 'b');
  answers.take('room', 1, 'a');
});
