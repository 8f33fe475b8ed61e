package reactivemongo.bench
object Decode { def apply(b: Array[Byte]) = reactivemongo.api.bson.collection.BSONSerializationPack.readFromBuffer(reactivemongo.api.bson.buffer.ReadableBuffer(b)) }
