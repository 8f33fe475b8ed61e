package articles

import org.bson.types.Decimal128
import reactivemongo.api.bson._

/** ReactiveMongo's documents. */
private object ReactiveMongoJson extends ExtendedJson[BSONDocument] {

  override def write(document: BSONDocument, json: JsonBuffer): Unit = {
    json.raw('{')
    var first = true
    // A name that is stored twice is one name, in its first place with its last value, as in other drivers' documents.
    val fields   = document.toMap
    val elements =
      if (fields.size == document.elements.size) document.elements
      else document.elements.distinctBy(_.name).map(element => BSONElement(element.name, fields(element.name)))
    elements.foreach { element =>
      if (first) first = false else json.raw(',')
      json.string(element.name)
      json.raw(':')
      writeValue(element.value, json)
    }
    json.raw('}')
  }

  private def writeArray(array: BSONArray, json: JsonBuffer): Unit = {
    json.raw('[')
    var first = true
    array.values.foreach { value =>
      if (first) first = false else json.raw(',')
      writeValue(value, json)
    }
    json.raw(']')
  }

  private def writeValue(value: BSONValue, json: JsonBuffer): Unit = value match {
    case text: BSONString       => json.string(text.value)
    case number: BSONInteger    => json.int32(number.value)
    case number: BSONLong       => json.int64(number.value)
    case number: BSONDouble     => json.double(number.value)
    case truth: BSONBoolean     => json.boolean(truth.value)
    case BSONNull               => json.raw("null")
    case id: BSONObjectID       => json.objectId(id.byteArray)
    case moment: BSONDateTime   => json.dateTime(moment.value)
    case document: BSONDocument => write(document, json)
    case array: BSONArray       => writeArray(array, json)
    case binary: BSONBinary     => json.binary(code(binary.subtype), binary.byteArray)
    case number: BSONDecimal    => json.decimal128(Decimal128.fromIEEE754BIDEncoding(number.high, number.low).toString)
    case regex: BSONRegex       => json.regularExpression(regex.value, regex.flags.sorted)
    case stamp: BSONTimestamp   => json.timestamp(stamp.value)
    case script: BSONJavaScript => json.code(script.value)
    case script: BSONJavaScriptWS => json.codeWithScope(script.value)(write(script.scope, json))
    case symbol: BSONSymbol       => json.symbol(symbol.value)
    case BSONUndefined            => json.raw("""{"$undefined":true}""")
    case BSONMinKey               => json.raw("""{"$minKey":1}""")
    case BSONMaxKey               => json.raw("""{"$maxKey":1}""")
    case other                    => throw new IllegalArgumentException(s"not a BSON value: $other")
  }

  // The driver keeps the number to itself.
  private def code(subtype: Subtype): Int = subtype match {
    case _: Subtype.GenericBinarySubtype => 0
    case _: Subtype.FunctionSubtype      => 1
    case _: Subtype.OldBinarySubtype     => 2
    case _: Subtype.OldUuidSubtype       => 3
    case _: Subtype.UuidSubtype          => 4
    case _: Subtype.Md5Subtype           => 5
    case _: Subtype.EncryptedSubtype     => 6
    case _: Subtype.CompressedSubtype    => 7
    case _: Subtype.UserDefinedSubtype   => 0x80
  }
}
