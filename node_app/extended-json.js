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
// Integers up to here are exact as a double, so the driver makes them numbers; past it they stay Longs.
const MAX_EXACT_INTEGER = 2 ** 53;

const [QUOTE, COMMA, COLON, OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET, ZERO] = Buffer.from('",:{}[]0');
// 1 for each ASCII character that a JSON string holds as it is, 0 for those that it escapes.
const PLAIN = new Uint8Array(128).fill(1, 32);
for (const escaped of Buffer.from('"\\')) PLAIN[escaped] = 0;

/** The bytes (UTF-8) of a document that decode.js decoded. @throws {TypeError} for a value that is no BSON type */
export function toExtendedJson(document) {
  pieces = [];
  const end = writeDocument(document, 0);
  return Buffer.concat([...pieces, scratch.subarray(0, end)]);
}

// Each write takes the place in `scratch` to write at and returns the place after what it wrote. A variable of the
// module instead of that argument costs a tenth of the speed.

function writeDocument(document, at) {
  const keys = Object.keys(document);
  at = writeByte(OPEN_BRACE, at);
  for (let i = 0; i < keys.length; i++) {
    if (i > 0) at = writeByte(COMMA, at);
    at = writeByte(COLON, writeString(keys[i], at));
    at = writeValue(document[keys[i]], at);
  }
  return writeByte(CLOSE_BRACE, at);
}

function writeArray(array, at) {
  at = writeByte(OPEN_BRACKET, at);
  for (let i = 0; i < array.length; i++) {
    if (i > 0) at = writeByte(COMMA, at);
    at = writeValue(array[i], at);
  }
  return writeByte(CLOSE_BRACKET, at);
}

function writeValue(value, at) {
  switch (typeof value) {
    case 'string':
      return writeString(value, at);
    case 'number':
      return writeAscii(numberText(value), at);
    case 'boolean':
    case 'bigint':
      return writeAscii(`${value}`, at);
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
      return writeDate(value, at);
    case ObjectId.prototype:
      return writeAscii('"}', writeAscii(value.toHexString(), writeAscii('{"$oid":"', at)));
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
      return writeDocument(value.toExtendedJSON(), at); // It may hold a document, whose Longs EJSON would round.
    case 'Binary': {
      // EJSON would do, but it throws on a vector that breaks its rules, which the database does not check.
      const subType = value.sub_type.toString(16).padStart(2, '0');
      return writeDocument({ $binary: { base64: value.toString('base64'), subType } }, at);
    }
    default:
      return writeText(BSON.EJSON.stringify(value, { relaxed: true }), at);
  }
}

function numberText(value) {
  if (Object.is(value, -0)) return '-0.0';
  if (!Number.isFinite(value)) return `{"$numberDouble":"${value}"}`;
  const text = `${value}`;
  // A double past 2^53. Without the point, readers with big integers would take its rounded digits for exact.
  return Math.abs(value) > MAX_EXACT_INTEGER && !text.includes('e') ? `${text}.0` : text;
}

function writeDate(date, at) {
  const ms = date.getTime();
  if (!(ms >= 0 && ms < YEAR_10000_MS)) return writeAscii(`{"$date":{"$numberLong":"${ms}"}}`, at);
  at = writeAscii('{"$date":"', room(at, 36));
  at = writeDigits(date.getUTCFullYear(), 4, '-', at);
  at = writeDigits(date.getUTCMonth() + 1, 2, '-', at);
  at = writeDigits(date.getUTCDate(), 2, 'T', at);
  at = writeDigits(date.getUTCHours(), 2, ':', at);
  at = writeDigits(date.getUTCMinutes(), 2, ':', at);
  at = writeDigits(date.getUTCSeconds(), 2, ms % 1000 ? '.' : 'Z', at);
  if (ms % 1000) at = writeDigits(ms % 1000, 3, 'Z', at);
  return writeAscii('"}', at);
}

function writeDigits(number, width, end, at) {
  for (let i = at + width - 1; i >= at; i--) {
    scratch[i] = ZERO + number % 10;
    number = (number / 10) | 0;
  }
  return writeAscii(end, at + width);
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
      return writeText(JSON.stringify(text), start); // Surrogates are rare, and half a pair has to be escaped.
    }
  }
  scratch[to++] = QUOTE;
  return to;
}

function writeAscii(text, at) {
  at = room(at, text.length);
  for (let i = 0; i < text.length; i++) scratch[at++] = text.charCodeAt(i);
  return at;
}

function writeByte(byte, at) {
  at = room(at, 1);
  scratch[at] = byte;
  return at + 1;
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
