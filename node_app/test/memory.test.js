import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { test } from 'node:test';
import { Memory } from '../memory.js';

const LARGEST = 3 * 16 * 1024 * 1024;

// Asks for shares of `collection`; `held` counts those that were granted so far.
function ask(memory, collection, count) {
  const asked = { held: 0, shares: [], errors: [], responses: [] };
  for (let i = 0; i < count; i++) {
    const response = new EventEmitter();
    asked.responses.push(response);
    memory.take(collection, response).then((share) => {
      asked.held++;
      asked.shares.push(share);
    }, (error) => asked.errors.push(error));
  }
  return asked;
}

test('what is not known yet is taken for large, and what is known for what it is', async () => {
  const memory = new Memory(2 * LARGEST);
  const asked = ask(memory, 'a', 10);
  await nextTurn();
  assert.equal(asked.held, 2);
  memory.came(asked.shares[0], 1000);
  await nextTurn();
  assert.equal(asked.held, 10);
});

test('a share comes back when its reply is sent, and one that waits is forgotten', async () => {
  const memory = new Memory(LARGEST);
  const asked = ask(memory, 'a', 3);
  await nextTurn();
  assert.equal(asked.held, 1);
  asked.responses[1].emit('close');
  asked.responses[0].emit('close');
  await nextTurn();
  assert.equal(asked.held, 1); // Its find ends after its time was over.
  memory.came(asked.shares[0], 16 * 1024 * 1024);
  await nextTurn();
  assert.equal(asked.held, 2);
  memory.came(asked.shares[1]); // Its find failed.
  asked.responses[2].emit('close');
  const later = ask(memory, 'b', 2);
  await nextTurn();
  assert.equal(later.held, 1);
});

test('one is let in however large it is', async () => {
  const memory = new Memory(1);
  const asked = ask(memory, 'a', 2);
  await nextTurn();
  assert.equal(asked.held, 1);
  memory.came(asked.shares[0], 1000);
  asked.responses[0].emit('close');
  await nextTurn();
  assert.equal(asked.held, 2);
});

test('those that wait are told why they wait in vain', async () => {
  const memory = new Memory(1);
  const asked = ask(memory, 'a', 3);
  await nextTurn();
  const reason = new Error('no server');
  memory.refuseWaiting(reason);
  await nextTurn();
  assert.deepEqual(asked.errors, [reason, reason]);
});
