// How long a document takes from BSON to the bytes of a body, with this app's encoder and with the driver's own.
//   node bench/encode.js FILE     FILE holds one BSON document, such as a .bson of mongodump

import { readFileSync } from 'node:fs';
import { BSON } from 'mongodb';
import { decode } from '../decode.js';
import { toExtendedJson } from '../extended-json.js';

const ROUNDS = 15;
const TOTAL_MS = process.env.BENCH_QUICK === '1' ? 3000 : 10_000;

const bytes = readFileSync(process.argv[2]);
const contestants = {
  'decode, toExtendedJson (bytes)': () => toExtendedJson(decode(bytes)),
  'deserialize, EJSON.stringify, Buffer.from (bytes)': () => Buffer.from(BSON.EJSON.stringify(BSON.deserialize(bytes))),
};
const [encoder, baseline] = Object.keys(contestants);
const times = { [encoder]: [], [baseline]: [] };
for (let round = 0; round <= ROUNDS; round++) {
  for (const [name, run] of Object.entries(contestants)) {
    const microseconds = timed(run, TOTAL_MS / (ROUNDS + 1) / 2);
    if (round > 0) times[name].push(microseconds); // The first round warms up.
  }
}

console.log(`${bytes.length} bytes of BSON, Node.js ${process.version}, ${ROUNDS} rounds`);
console.log('microseconds of processor time for a document: median (least to most)\n');
const [ours, theirs] = Object.entries(times).map(([name, values]) => {
  const sorted = values.toSorted((a, b) => a - b);
  const [median, least, most] = [sorted[sorted.length >> 1], sorted[0], sorted.at(-1)];
  console.log(`${name.padEnd(52)} ${median.toFixed(2)} (${least.toFixed(2)} to ${most.toFixed(2)})`);
  return { median, least, most };
});
const figures = { encoder, encoder_us: ours, baseline, baseline_us: theirs, ratio: ours.median / theirs.median };
console.log(`\n${JSON.stringify(figures)}`);

// Runs for about `ms` milliseconds and returns the microseconds of processor time of one run: what other programs take
// of the machine meanwhile is not in it.
function timed(run, ms) {
  const end = performance.now() + ms;
  const before = process.cpuUsage();
  let runs = 0;
  do {
    for (let i = 0; i < 20; i++) run();
    runs += 20;
  } while (performance.now() < end);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / runs;
}
