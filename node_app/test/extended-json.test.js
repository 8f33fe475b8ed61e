import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  Binary, BSON, BSONRegExp, Code, DBRef, Decimal128, Double, Int32, Long, MaxKey, MinKey, ObjectId, Timestamp, UUID,
} from 'mongodb';
import { decode } from '../decode.js';
import { toExtendedJson } from '../extended-json.js';

const HUGE = Long.MAX_VALUE;

// A document with one field, as it comes back from the database.
const stored = (value) => decode(BSON.serialize({ value }, { ignoreUndefined: false }));
const written = (value) => toExtendedJson(stored(value)).toString();

for (const [what, value, expected] of [
  ['text', 'plain', '"plain"'],
  ['text that JSON escapes', 'a"b\\c\n\u0001/', '"a\\"b\\\\c\\n\\u0001/"'],
  ['text of one to four bytes a character', 'aé東🚀', '"aé東🚀"'],
  ['an empty text', '', '""'],
  ['an int32', new Int32(-5), '-5'],
  ['an int64', Long.fromString('5812345678901'), '5812345678901'],
  ['the largest exact int64', Long.fromString('9007199254740992'), '9007199254740992'],
  ['an int64 past 2^53', Long.fromString('9007199254740993'), '9007199254740993'],
  ['the smallest int64', Long.MIN_VALUE, '-9223372036854775808'],
  ['a double', new Double(0.1), '0.1'],
  ['a double of many digits', new Double(9_999_999.000000002), '9999999.000000002'],
  ['a double past 2^53', new Double(2 ** 60), '1152921504606847000.0'],
  ['a double with an exponent', new Double(1e300), '1e+300'],
  ['minus zero', new Double(-0), '-0.0'],
  ['NaN', NaN, '{"$numberDouble":"NaN"}'],
  ['infinity', -Infinity, '{"$numberDouble":"-Infinity"}'],
  ['true', true, 'true'],
  ['null', null, 'null'],
  ['undefined', undefined, 'null'],
  ['an ObjectId', new ObjectId('53909ff6e4b0f0a1c2d3e402'), '{"$oid":"53909ff6e4b0f0a1c2d3e402"}'],
  ['a date with milliseconds', new Date('2014-06-01T12:00:00.120Z'), '{"$date":"2014-06-01T12:00:00.120Z"}'],
  ['a date without', new Date('2014-06-01T12:00:00Z'), '{"$date":"2014-06-01T12:00:00Z"}'],
  ['the first date', new Date(0), '{"$date":"1970-01-01T00:00:00Z"}'],
  ['a date before it', new Date(-1), '{"$date":{"$numberLong":"-1"}}'],
  ['the last date', new Date('9999-12-31T23:59:59.999Z'), '{"$date":"9999-12-31T23:59:59.999Z"}'],
  ['a date after it', new Date(Date.UTC(10_000, 0)), '{"$date":{"$numberLong":"253402300800000"}}'],
  ['documents and arrays', { a: [{}, [], [1, [null]]] }, '{"a":[{},[],[1,[null]]]}'],
  ['a key that is a name of JavaScript', { constructor: 1, toString: 2 }, '{"constructor":1,"toString":2}'],
  ['keys with a dollar or a dot', { '$a': 1, 'b.c': 2 }, '{"$a":1,"b.c":2}'],
  ['a key that JSON escapes', { 'a"\n': 1 }, '{"a\\"\\n":1}'],
  ['bytes', new Binary(Buffer.from('abc'), 0x80), '{"$binary":{"base64":"YWJj","subType":"80"}}'],
  ['a regular expression', new BSONRegExp('(a"', 'xi'), '{"$regularExpression":{"pattern":"(a\\"","options":"ix"}}'],
  ['code with a scope', new Code('f()', { n: HUGE }), '{"$code":"f()","$scope":{"n":9223372036854775807}}'],
  ['a reference', new DBRef('c', HUGE, 'd', { x: 1 }), '{"$ref":"c","$id":9223372036854775807,"$db":"d","x":1}'],
]) {
  test(`writes ${what}`, () => {
    assert.equal(written(value), `{"value":${expected}}`);
  });
}

for (const value of [
  new UUID('0123456789abcdef0123456789abcdef'),
  new Decimal128('1.50E+3'),
  new Decimal128('NaN'),
  new Timestamp({ t: 4_000_000_000, i: 7 }),
  new MinKey(),
  new MaxKey(),
  new Code('return 1'),
]) {
  test(`writes ${value.constructor.name} as the driver does`, () => {
    assert.equal(written(value), BSON.EJSON.stringify({ value }, { relaxed: true }));
  });
}

// The driver reads these two as they are, and refuses to write them.
test('takes a stored key for a key, whatever its name', () => {
  const document = { _bsontype: 'ObjectId', id: 'x', inner: { _bsontype: 7 } };
  assert.equal(toExtendedJson(document).toString(), JSON.stringify(document));
});

test('writes a vector that breaks the rules of vectors', () => {
  const vector = new Binary(Buffer.from([0x10, 9, 1]), Binary.SUBTYPE_VECTOR);
  assert.equal(toExtendedJson({ vector }).toString(), '{"vector":{"$binary":{"base64":"EAkB","subType":"09"}}}');
});

// Types that the driver reads and does not write: elements of BSON by hand, [type, bytes of the value].
function element(type, value) {
  const body = Buffer.concat([Buffer.from([type]), Buffer.from('value\0'), value, Buffer.from([0])]);
  const size = Buffer.alloc(4);
  size.writeInt32LE(body.length + 4);
  return Buffer.concat([size, body]);
}

test('keeps a deprecated undefined apart from null', () => {
  assert.equal(toExtendedJson(decode(element(0x06, Buffer.alloc(0)))).toString(), '{"value":{"$undefined":true}}');
});

test('replaces bytes that are no UTF-8', () => {
  const text = Buffer.from([4, 0, 0, 0, 0x61, 0xff, 0x62, 0]);
  assert.equal(toExtendedJson(decode(element(0x02, text))).toString(), '{"value":"a\ufffdb"}');
});

test('says so when a date is further away than JavaScript can tell', () => {
  const ms = Buffer.alloc(8);
  ms.writeBigInt64LE(2n ** 62n);
  assert.equal(toExtendedJson(decode(element(0x09, ms))).toString(), '{"value":{"$date":{"$numberLong":"NaN"}}}');
});

test('keeps a key named __proto__', () => {
  const document = decode(BSON.serialize(JSON.parse('{"__proto__":{"a":1}}')));
  assert.equal(toExtendedJson(document).toString(), '{"__proto__":{"a":1}}');
});

test('escapes half a surrogate pair, which no UTF-8 can hold', () => {
  assert.equal(toExtendedJson({ a: '\ud83d', b: '\ude80\ud83d' }).toString(), '{"a":"\\ud83d","b":"\\ude80\\ud83d"}');
});

test('knows the calendar from 1970 to 9999', () => {
  for (let day = 0; day < 2_932_897; day += 13) {
    const date = new Date(day * 86_400_000 + (day % 86_400) * 1000);
    const expected = `{"date":{"$date":"${date.toISOString().slice(0, 19)}Z"}}`;
    if (toExtendedJson({ date }).toString() !== expected) assert.fail(expected);
  }
});

test('writes a document of any size', () => {
  for (const size of [21_800, 21_844, 21_845, 21_846, 65_535, 65_536, 200_000]) {
    const document = { ascii: 'a'.repeat(size), wide: '東'.repeat(size), quoted: '"é'.repeat(size) };
    document['é'.repeat(size)] = 1;
    assert.equal(toExtendedJson(document).toString(), JSON.stringify(document));
  }
  const many = Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`key${i}`, [i, { even: i % 2 === 0 }]]));
  assert.equal(toExtendedJson(many).toString(), JSON.stringify(many));
});

test('writes a document as deep as the database stores them', () => {
  let document = { a: 1 };
  for (let depth = 0; depth < 200; depth++) document = depth % 2 ? { d: document } : { l: [document] };
  assert.equal(toExtendedJson(document).toString(), JSON.stringify(document));
});

test('refuses what is no BSON type, and is as good as new after that', () => {
  assert.throws(() => toExtendedJson({ text: 'x'.repeat(100_000), f() {} }), TypeError);
  assert.equal(toExtendedJson({ a: 1 }).toString(), '{"a":1}');
});

test('does not change a body when the next one is written', () => {
  const first = toExtendedJson({ a: 'first' });
  toExtendedJson({ b: 'second' });
  assert.equal(first.toString(), '{"a":"first"}');
});
