package reactivemongo

import reactivemongo.api.bson.BSONDocument
import reactivemongo.api.bson.buffer.ReadableBuffer
import reactivemongo.api.bson.collection.BSONSerializationPack

/** ReactiveMongo's decoder, which it keeps to its own packages. For the bench and the tests. */
object BsonBytes {
  def decode(bson: Array[Byte]): BSONDocument = BSONSerializationPack.readFromBuffer(ReadableBuffer(bson))
}

package api {

  /** The name of the replica set that a driver found, which it keeps to its own packages. */
  object SetName {
    def of(database: DB): Option[String] = database.connectionState.setName
  }
}
