package reactivemongo

import reactivemongo.api.bson.BSONDocument
import reactivemongo.api.bson.buffer.ReadableBuffer
import reactivemongo.api.bson.collection.BSONSerializationPack

/** ReactiveMongo's decoder, which it keeps to its own packages. For the bench and the tests. */
object BsonBytes {
  def decode(bson: Array[Byte]): BSONDocument = BSONSerializationPack.readFromBuffer(ReadableBuffer(bson))
}
