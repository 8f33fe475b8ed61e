// MongoDB documents to relaxed Extended JSON v2, compact and in UTF-8.
//
// The driver's EJSON.stringify() copies the document, stringifies the copy, and the socket encodes that text once
// more. This writes the bytes once, straight from the document, and leaves the rare types to EJSON. It also keeps
// what EJSON loses: digits of integers past 2^53, the sign of -0, undefined.

import { BSON, ObjectId } from 'mongodb';

// Most documents fit. A larger one is written in pieces, so nothing large is kept once it has been sent.
const SCRATCH_BYTES = 64 * 1024;
const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
let pieces = [];

const YEAR_10000_MS = Date.UTC(10_000, 0);
const DAY_MS = 86_400_000;
// Integers up to here are exact as a double, so the driver makes them numbers; past it they stay Longs.
const MAX_EXACT_INTEGER = 2 ** 53;

const QUOTE = '"'.charCodeAt(0);
const COMMA = ','.charCodeAt(0);
const COLON = ':'.charCodeAt(0);
const DASH = '-'.charCodeAt(0);
const DOT = '.'.charCodeAt(0);
const ZERO = '0'.charCodeAt(0);
const T = 'T'.charCodeAt(0);
const [OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET] = Buffer.from('{}[]');
const HEX_DIGITS = Buffer.from('0123456789abcdef');
// 1 for each ASCII character that a JSON string holds as it is, 0 for those that it escapes.
const PLAIN = new Uint8Array(128).fill(1, 32);
PLAIN[QUOTE] = 0;
PLAIN['\\'.charCodeAt(0)] = 0;

/**
 * Writes a document as the driver decoded it (see `decoding` in database.js) as one line of relaxed Extended JSON.
 *
 * @param {object} document
 * @returns {Buffer} UTF-8
 * @throws {TypeError} for a value that is no BSON type
 */
export function toExtendedJson(document) {
  pieces = [];
  const end = writeDocument(document, 0);
  const last = Buffer.from(scratch.subarray(0, end));
  return pieces.length === 0 ? last : Buffer.concat([...pieces, last]);
}

// Each write takes the place in `scratch` to write at and returns the place after what it wrote. A variable of the
// module instead of that argument costs a tenth of the speed.

function writeDocument(document, at) {
  const keys = Object.keys(document);
  at = room(at, 1);
  scratch[at++] = OPEN_BRACE;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i];
    at = room(at, 1);
    if (i > 0) scratch[at++] = COMMA;
    at = writeString(key, at);
    at = room(at, 1);
    scratch[at++] = COLON;
    at = writeValue(document[key], at);
  }
  at = room(at, 1);
  scratch[at++] = CLOSE_BRACE;
  return at;
}

function writeArray(array, at) {
  at = room(at, 1);
  scratch[at++] = OPEN_BRACKET;
  for (let i = 0; i < array.length; i++) {
    at = room(at, 1);
    if (i > 0) scratch[at++] = COMMA;
    at = writeValue(array[i], at);
  }
  at = room(at, 1);
  scratch[at++] = CLOSE_BRACKET;
  return at;
}

function writeValue(value, at) {
  switch (typeof value) {
    case 'string':
      return writeString(value, at);
    case 'number':
      return writeAscii(numberText(value), at);
    case 'boolean':
      return writeAscii(value ? 'true' : 'false', at);
    case 'bigint':
      return writeAscii(value.toString(), at);
    case 'undefined':
      return writeAscii('{"$undefined":true}', at);
    case 'object':
      return value === null ? writeAscii('null', at) : writeObject(value, at);
    default:
      throw new TypeError(`a ${typeof value} is no BSON type`);
  }
}

function writeObject(value, at) {
  // By prototype: a stored document may hold a key named `_bsontype` or `constructor`.
  switch (Object.getPrototypeOf(value)) {
    case Object.prototype:
      return writeDocument(value, at);
    case Date.prototype:
      return writeDate(value.getTime(), at);
    case ObjectId.prototype:
      return writeObjectId(value.id, at);
    case Array.prototype:
      return writeArray(value, at);
    default:
      return writeRareType(value, at);
  }
}

function writeRareType(value, at) {
  switch (value._bsontype) {
    case 'Long':
      return writeAscii(value.toString(), at); // EJSON would round it to a double.
    case 'Code':
    case 'DBRef':
      return writeDocument(value.toExtendedJSON(), at); // They hold documents, whose Longs EJSON would round.
    case 'Binary':
      return writeDocument({ $binary: { base64: value.toString('base64'), subType: subType(value) } }, at);
    default:
      return writeText(BSON.EJSON.stringify(value, { relaxed: true }), at);
  }
}

// EJSON would do for a Binary, but it throws on a vector that breaks its rules, which the database does not check.
function subType(binary) {
  return binary.sub_type.toString(16).padStart(2, '0');
}

function numberText(value) {
  if (Object.is(value, -0)) return '-0.0';
  if (!Number.isFinite(value)) return `{"$numberDouble":"${value}"}`;
  const text = `${value}`;
  // A double past 2^53. Without the point, readers with big integers would take its rounded digits for exact.
  return Math.abs(value) > MAX_EXACT_INTEGER && !text.includes('e') ? `${text}.0` : text;
}

function writeString(text, at) {
  if (text.length * 3 + 2 > SCRATCH_BYTES) return writeText(JSON.stringify(text), at);
  const start = room(at, text.length * 3 + 2);
  let to = start;
  scratch[to++] = QUOTE;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x80) {
      if (PLAIN[code] === 0) return writeText(JSON.stringify(text), start);
      scratch[to++] = code;
    } else if (code < 0x800) {
      scratch[to++] = 0xc0 | (code >> 6);
      scratch[to++] = 0x80 | (code & 0x3f);
    } else if (code < 0xd800 || code > 0xdfff) {
      scratch[to++] = 0xe0 | (code >> 12);
      scratch[to++] = 0x80 | ((code >> 6) & 0x3f);
      scratch[to++] = 0x80 | (code & 0x3f);
    } else {
      const point = text.codePointAt(i++);
      // Half of a surrogate pair: JSON.stringify() escapes it.
      if (point < 0x10000 || code > 0xdbff) return writeText(JSON.stringify(text), start);
      scratch[to++] = 0xf0 | (point >> 18);
      scratch[to++] = 0x80 | ((point >> 12) & 0x3f);
      scratch[to++] = 0x80 | ((point >> 6) & 0x3f);
      scratch[to++] = 0x80 | (point & 0x3f);
    }
  }
  scratch[to++] = QUOTE;
  return to;
}

function writeObjectId(bytes, at) {
  at = writeAscii('{"$oid":"', room(at, 35));
  for (let i = 0; i < 12; i++) {
    scratch[at++] = HEX_DIGITS[bytes[i] >> 4];
    scratch[at++] = HEX_DIGITS[bytes[i] & 0xf];
  }
  return writeAscii('"}', at);
}

// toISOString() takes as long as six of these, and then has to be cut where the fraction is zero.
function writeDate(ms, at) {
  if (!(ms >= 0 && ms < YEAR_10000_MS)) return writeAscii(`{"$date":{"$numberLong":"${ms}"}}`, at);
  const day = Math.floor(ms / DAY_MS);
  const [year, month, dayOfMonth] = civil(day);
  const millisecond = ms % 1000;
  const second = (ms - day * DAY_MS - millisecond) / 1000;
  at = writeAscii('{"$date":"', room(at, 36));
  at = writeTwoDigits((year / 100) | 0, at);
  at = writeTwoDigits(year % 100, at);
  scratch[at++] = DASH;
  at = writeTwoDigits(month, at);
  scratch[at++] = DASH;
  at = writeTwoDigits(dayOfMonth, at);
  scratch[at++] = T;
  at = writeTwoDigits((second / 3600) | 0, at);
  scratch[at++] = COLON;
  at = writeTwoDigits(((second / 60) | 0) % 60, at);
  scratch[at++] = COLON;
  at = writeTwoDigits(second % 60, at);
  if (millisecond > 0) {
    scratch[at++] = DOT;
    scratch[at++] = ZERO + ((millisecond / 100) | 0);
    at = writeTwoDigits(millisecond % 100, at);
  }
  return writeAscii('Z"}', at);
}

// The proleptic Gregorian date of a day counted from 1970-01-01, by Howard Hinnant's civil_from_days: its years begin
// in March, so that the leap day is a year's last.
function civil(day) {
  const shifted = day + 719_468;
  const era = (shifted / 146_097) | 0;
  const dayOfEra = shifted - era * 146_097;
  const leapDays = ((dayOfEra / 1460) | 0) - ((dayOfEra / 36_524) | 0) + ((dayOfEra / 146_096) | 0);
  const yearOfEra = ((dayOfEra - leapDays) / 365) | 0;
  const dayOfYear = dayOfEra - (365 * yearOfEra + (yearOfEra >> 2) - ((yearOfEra / 100) | 0));
  const marchMonth = ((5 * dayOfYear + 2) / 153) | 0;
  const month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9;
  return [era * 400 + yearOfEra + (month <= 2 ? 1 : 0), month, dayOfYear - (((153 * marchMonth + 2) / 5) | 0) + 1];
}

function writeTwoDigits(number, at) {
  const tens = (number / 10) | 0;
  scratch[at] = ZERO + tens;
  scratch[at + 1] = ZERO + number - tens * 10;
  return at + 2;
}

function writeAscii(text, at) {
  at = room(at, text.length);
  for (let i = 0; i < text.length; i++) scratch[at++] = text.charCodeAt(i);
  return at;
}

function writeText(text, at) {
  if (text.length * 3 > SCRATCH_BYTES) {
    pieces.push(Buffer.from(scratch.subarray(0, at)), Buffer.from(text));
    return 0;
  }
  at = room(at, text.length * 3);
  return at + scratch.write(text, at);
}

function room(at, bytes) {
  if (at + bytes <= SCRATCH_BYTES) return at;
  pieces.push(Buffer.from(scratch.subarray(0, at)));
  return 0;
}
