// BSON to JavaScript values, as the driver decodes them but for what it would change or refuse.
//
// The driver makes a document with `$ref` and `$id` a DBRef, which has other fields in another order. It throws on a
// regular expression with an option that it does not know, and on a malformed binary of subtype 2. MongoDB stores all
// three. Documents that hold one are taken apart here; the others, nearly all, go through the driver at full speed.

import { Binary, BSON, BSONRegExp, BSONType, Code } from 'mongodb';

// By default the driver throws on a regular expression that JavaScript does not know, and on text that is no UTF-8.
const REFERENCE = Buffer.from('$ref\0');
const DRIVER = { bsonRegExp: true, validation: { utf8: false } };

/**
 * @param {Buffer} bytes one document of BSON
 * @returns {object} with numbers for int32, double and int64 up to 2^53, and the driver's types for the others
 */
export function decode(bytes) {
  return valueOf(BSONType.object, bytes);
}

function valueOf(type, bytes) {
  const nested = [BSONType.object, BSONType.array, BSONType.javascriptWithScope].includes(type);
  try {
    if (!nested || !bytes.includes(REFERENCE)) return decodedByDriver(type, bytes);
  } catch (error) {
    if (!nested && type !== BSONType.regex && type !== BSONType.binData) throw error;
  }
  if (type === BSONType.object || type === BSONType.array) return fill(type === BSONType.array ? [] : {}, bytes);
  if (type === BSONType.binData) return new Binary(bytes.subarray(5), bytes[4]);
  if (type === BSONType.regex) {
    const [pattern, options] = bytes.toString().split('\0');
    return Object.assign(new BSONRegExp(pattern), { options });
  }
  const scopeAt = 8 + bytes.readInt32LE(4);
  return new Code(bytes.toString('utf8', 8, scopeAt - 1), decode(bytes.subarray(scopeAt)));
}

function fill(object, bytes) {
  for (const [type, nameAt, nameLength, at, length] of BSON.onDemand.parseToElements(bytes)) {
    const name = Array.isArray(object) ? object.length : bytes.toString('utf8', nameAt, nameAt + nameLength);
    const value = valueOf(type, bytes.subarray(at, at + length));
    // An assignment to `__proto__` would not make a field.
    Object.defineProperty(object, name, { value, writable: true, enumerable: true, configurable: true });
  }
  return object;
}

function decodedByDriver(type, bytes) {
  if (type === BSONType.object) return BSON.deserialize(bytes, DRIVER);
  // As the only field, without a name, of a document of its own.
  const head = Buffer.from([0, 0, 0, 0, type, 0]);
  head.writeInt32LE(bytes.length + 7);
  return BSON.deserialize(Buffer.concat([head, bytes, Buffer.alloc(1)]), DRIVER)[''];
}
