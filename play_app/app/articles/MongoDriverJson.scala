package articles

import org.bson._

/** The official driver's documents. */
private object MongoDriverJson extends ExtendedJson[BsonDocument] {

  override def write(document: BsonDocument, json: JsonBuffer): Unit = {
    json.raw('{')
    val fields = document.entrySet.iterator
    var first  = true
    while (fields.hasNext) {
      val field = fields.next()
      if (first) first = false else json.raw(',')
      json.string(field.getKey)
      json.raw(':')
      writeValue(field.getValue, json)
    }
    json.raw('}')
  }

  private def writeArray(array: BsonArray, json: JsonBuffer): Unit = {
    json.raw('[')
    val values = array.iterator
    var first  = true
    while (values.hasNext) {
      if (first) first = false else json.raw(',')
      writeValue(values.next(), json)
    }
    json.raw(']')
  }

  private def writeValue(value: BsonValue, json: JsonBuffer): Unit = value.getBsonType match {
    case BsonType.STRING             => json.string(value.asString.getValue)
    case BsonType.INT32              => json.int32(value.asInt32.getValue)
    case BsonType.INT64              => json.int64(value.asInt64.getValue)
    case BsonType.DOUBLE             => json.double(value.asDouble.getValue)
    case BsonType.BOOLEAN            => json.boolean(value.asBoolean.getValue)
    case BsonType.NULL               => json.raw("null")
    case BsonType.OBJECT_ID          => json.objectId(value.asObjectId.getValue.toByteArray)
    case BsonType.DATE_TIME          => json.dateTime(value.asDateTime.getValue)
    case BsonType.DOCUMENT           => write(value.asDocument, json)
    case BsonType.ARRAY              => writeArray(value.asArray, json)
    case BsonType.BINARY             => json.binary(value.asBinary.getType.toInt, value.asBinary.getData)
    case BsonType.DECIMAL128         => json.decimal128(value.asDecimal128.getValue.toString)
    case BsonType.REGULAR_EXPRESSION =>
      json.regularExpression(value.asRegularExpression.getPattern, value.asRegularExpression.getOptions)
    case BsonType.TIMESTAMP  => json.timestamp(value.asTimestamp.getValue)
    case BsonType.JAVASCRIPT => json.code(value.asJavaScript.getCode)
    case BsonType.SYMBOL     => json.symbol(value.asSymbol.getSymbol)
    case BsonType.UNDEFINED  => json.raw("""{"$undefined":true}""")
    case BsonType.MIN_KEY    => json.raw("""{"$minKey":1}""")
    case BsonType.MAX_KEY    => json.raw("""{"$maxKey":1}""")
    case BsonType.DB_POINTER => json.dbPointer(value.asDBPointer.getNamespace, value.asDBPointer.getId.toByteArray)
    case BsonType.JAVASCRIPT_WITH_SCOPE =>
      val code = value.asJavaScriptWithScope
      json.codeWithScope(code.getCode)(write(code.getScope, json))
    // Marks the end of a document, where no value is.
    case BsonType.END_OF_DOCUMENT => throw new IllegalArgumentException("no value")
  }
}
