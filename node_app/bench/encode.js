// How long a document takes from BSON to the bytes of a body, with this app's encoder and with the driver's own.
//
//   node bench/encode.js [FILE]     FILE holds one BSON document; without it, a sample made here

import { readFileSync } from 'node:fs';
import { BSON, ObjectId } from 'mongodb';
import { DECODING } from '../database.js';
import { toExtendedJson } from '../extended-json.js';

const ROUNDS = 15;
const TOTAL_MS = process.env.BENCH_QUICK === '1' ? 3000 : 10_000;

const bytes = process.argv[2] ? readFileSync(process.argv[2]) : sample();
// The driver decodes a reply with the same function and options.
const decoding = { ...DECODING, validation: { utf8: DECODING.enableUtf8Validation } };
const contestants = {
  ours: {
    name: 'deserialize, toExtendedJson (bytes)',
    run: () => toExtendedJson(BSON.deserialize(bytes, decoding)),
  },
  driver: {
    name: 'deserialize, EJSON.stringify, Buffer.from (bytes)',
    run: () => Buffer.from(BSON.EJSON.stringify(BSON.deserialize(bytes))),
  },
  driverText: {
    name: 'deserialize, EJSON.stringify (text, not yet bytes)',
    run: () => BSON.EJSON.stringify(BSON.deserialize(bytes)),
  },
};

const times = Object.fromEntries(Object.keys(contestants).map((key) => [key, []]));
const roundMs = TOTAL_MS / (ROUNDS + 1) / Object.keys(contestants).length;
for (let round = 0; round <= ROUNDS; round++) {
  for (const [key, { run }] of Object.entries(contestants)) {
    const microseconds = timed(run, roundMs);
    if (round > 0) times[key].push(microseconds); // The first round warms up.
  }
}

const result = Object.fromEntries(Object.entries(times).map(([key, values]) => [key, summary(values)]));
console.log(`${bytes.length} bytes of BSON, Node.js ${process.version}, ${ROUNDS} rounds`);
console.log('microseconds of processor time for a document\n');
console.log(`${''.padEnd(52)}${'median'.padStart(9)}${'least'.padStart(9)}${'most'.padStart(9)}   ours / it`);
for (const [key, { name }] of Object.entries(contestants)) {
  const { median, least, most } = result[key];
  const figures = [median, least, most].map((value) => value.toFixed(2).padStart(9)).join('');
  console.log(`${name.padEnd(52)}${figures}${(result.ours.median / median).toFixed(2).padStart(12)}`);
}
console.log(`\n${JSON.stringify({
  encoder: contestants.ours.name,
  encoder_us: result.ours,
  baseline: contestants.driver.name,
  baseline_us: result.driver,
  ratio: result.ours.median / result.driver.median,
})}`);

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

function summary(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return { median: sorted[sorted.length >> 1], least: sorted[0], most: sorted.at(-1) };
}

// An article as a content management system keeps it: some 200 fields.
function sample() {
  const document = { _id: new ObjectId('53909ff6e4b0f0a1c2d3e4ff'), title: 'Größe, "quoted" — 東京', tags: ['a', 'b'] };
  for (let i = 0; i < 40; i++) {
    document[`text_${i}`] = `the ${i}th of the texts, which is as long as texts of this kind are`;
    document[`count_${i}`] = i * 1000;
    document[`rate_${i}`] = i * 10 + 0.375;
    document[`since_${i}`] = new Date(1_400_000_000_000 + i * 86_400_123);
    document[`meta_${i}`] = { owner: new ObjectId(i.toString(16).padStart(24, '5')), visible: i % 2 === 0, note: null };
  }
  return BSON.serialize(document);
}
