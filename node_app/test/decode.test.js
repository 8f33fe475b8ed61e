import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BSON, Long, ObjectId } from 'mongodb';
import { decode } from '../decode.js';
import { toExtendedJson } from '../extended-json.js';

const written = (bytes) => toExtendedJson(decode(bytes)).toString();

// BSON by hand: it holds names twice, names and values that the driver would not write, in the order given.
const int32 = (value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
};
const element = (type, name, value) => Buffer.concat([Buffer.from([type]), Buffer.from(`${name}\0`), value]);
const document = (...elements) => {
  const body = Buffer.concat([...elements, Buffer.alloc(1)]);
  return Buffer.concat([int32(body.length + 4), body]);
};
const string = (text) => Buffer.concat([int32(Buffer.byteLength(text) + 1), Buffer.from(`${text}\0`)]);
const one = (name) => element(0x10, name, int32(1));
const text = (name, value) => element(0x02, name, string(value));

const REFERENCE = [text('$ref', 'fs.files'), element(0x07, '$id', Buffer.alloc(12, 1)), text('$db', 'x')];
const REFERENCE_TEXT = '"$ref":"fs.files","$id":{"$oid":"010101010101010101010101"},"$db":"x"';

for (const [what, bytes, expected] of [
  ['a reference at the top', document(one('_id'), ...REFERENCE), `{"_id":1,${REFERENCE_TEXT}}`],
  ['one with other fields before, between and after',
    document(one('a'), text('$ref', 'c'), one('b'), one('$id'), one('c')),
    '{"a":1,"$ref":"c","b":1,"$id":1,"c":1}'],
  ['its fields in another order', document(one('$id'), text('$ref', 'c')), '{"$id":1,"$ref":"c"}'],
  ['a null for the database',
    document(text('$ref', 'c'), one('$id'), element(0x0a, '$db', Buffer.alloc(0))), '{"$ref":"c","$id":1,"$db":null}'],
  ['a nested one', document(one('a'), element(0x03, 'r', document(...REFERENCE))), `{"a":1,"r":{${REFERENCE_TEXT}}}`],
  ['one in an array', document(element(0x04, 'l', document(element(0x03, '0', document(...REFERENCE)), one('1')))),
    `{"l":[{${REFERENCE_TEXT}},1]}`],
  ['one in the scope of code',
    document(element(0x0f, 'c', Buffer.concat([
      int32(4 + string('f()').length + document(...REFERENCE).length), string('f()'), document(...REFERENCE),
    ]))),
    `{"c":{"$code":"f()","$scope":{${REFERENCE_TEXT}}}}`],
  ['special names beside a reference',
    document(
      ...REFERENCE, element(0x03, '__proto__', document(one('constructor'))), one('toJSON'), one('_bsontype'), one(''),
    ),
    `{${REFERENCE_TEXT},"__proto__":{"constructor":1},"toJSON":1,"_bsontype":1,"":1}`],
  ['an array whose names are no numbers', document(element(0x04, 'l', document(one('x'), one('x'), text('$ref', 'c')))),
    '{"l":[1,1,"c"]}'],
  ['text that ends like a reference', document(text('t', 'costs $ref')), '{"t":"costs $ref"}'],
  ['a regular expression with an unknown option',
    document(one('a'), element(0x0b, 'r', Buffer.from('(a"\0zi\0')), one('b')),
    '{"a":1,"r":{"$regularExpression":{"pattern":"(a\\"","options":"zi"}},"b":1}'],
  ['a malformed binary of subtype 2',
    document(element(0x05, 'b', Buffer.concat([int32(3), Buffer.from([2, 97, 98, 99])]))),
    '{"b":{"$binary":{"base64":"YWJj","subType":"02"}}}'],
  ['names that the driver gives a meaning',
    document(one('_bsontype'), one('then'), one('toBSON'), one('length'), one('$date'), one('a.b'), one('$')),
    '{"_bsontype":1,"then":1,"toBSON":1,"length":1,"$date":1,"a.b":1,"$":1}'],
]) {
  test(`keeps ${what}`, () => assert.equal(written(bytes), expected));
}

test('decodes a deep document that holds a reference', () => {
  let bytes = document(...REFERENCE);
  let expected = `{${REFERENCE_TEXT}}`;
  for (let depth = 0; depth < 180; depth++) {
    bytes = document(element(0x03, 'd', bytes));
    expected = `{"d":${expected}}`;
  }
  assert.equal(written(bytes), expected);
});

test('decodes everything else as the driver does', () => {
  const values = { a: new ObjectId(), b: [1, { c: Long.MAX_VALUE }], d: new Date(0), e: 'é', f: null, g: 1.5 };
  const bytes = Buffer.from(BSON.serialize(values));
  assert.deepEqual(decode(bytes), BSON.deserialize(bytes));
  const beside = document(...REFERENCE, element(0x03, 'x', bytes));
  assert.deepEqual(decode(beside).x, BSON.deserialize(bytes));
});

test('refuses what is no BSON', () => {
  assert.throws(() => decode(Buffer.from('{"a":1}')));
});
