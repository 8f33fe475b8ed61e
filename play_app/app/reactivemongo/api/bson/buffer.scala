package reactivemongo.api.bson

/** Takes the place of the driver's own `buffer` object, which chooses how BSON is decoded.
  *
  * ReactiveMongo 1.1 fails on a reply that holds a MinKey (it compares the type's signed byte with 0xff), code with a
  * scope (it does not expect the length before it), a DBPointer or a binary subtype younger than itself. Its own
  * classes are used wherever they can hold the value. For the others the decoded value is the document that Extended
  * JSON writes.
  *
  * It works because the application's classes come before the driver's. `sbt run`, which loads the driver's first, has
  * the driver's decoder. Delete this file when the driver reads these types.
  */
package object buffer {
  private val MinKey           = 0xff.toByte.toInt
  private val Binary           = 0x05
  private val DBPointer        = 0x0c
  private val CodeWithScope    = 0x0f
  private val OldBinarySubtype = 0x02

  private[reactivemongo] val DefaultBufferHandler: BufferHandler = new BufferHandler with PlainBufferHandler {

    override private[bson] def readValue(buffer: ReadableBuffer, code: Int): BSONValue = code match {
      case MinKey        => BSONMinKey
      case Binary        => readBinaryOfAnySubtype(buffer)
      case DBPointer     => readDBPointer(buffer)
      case CodeWithScope =>
        val _ = buffer.readInt()
        super.readValue(buffer, code)
      case _ => super.readValue(buffer, code)
    }
  }

  private def readDBPointer(buffer: ReadableBuffer): BSONValue = {
    val namespace = buffer.readBsonString()
    val id        = BSONObjectID.parse(buffer.readArray(12)).get
    BSONDocument("$dbPointer" -> BSONDocument("$ref" -> namespace, "$id" -> BSONDocument("$oid" -> id.stringify)))
  }

  private def readBinaryOfAnySubtype(buffer: ReadableBuffer): BSONValue = {
    val length  = buffer.readInt()
    val subtype = buffer.readByte()
    // The old generic subtype has its length a second time, within its bytes.
    val repeated = if (subtype == OldBinarySubtype) Integer.BYTES else 0
    val content  = buffer.readArray(length).drop(repeated)
    if (subtype <= 7 && (subtype >= 0 || subtype == Byte.MinValue)) BSONBinary(content, Subtype(subtype))
    else {
      val base64 = java.util.Base64.getEncoder.encodeToString(content)
      BSONDocument("$binary" -> BSONDocument("base64" -> base64, "subType" -> f"$subtype%02x"))
    }
  }
}
