package articles

import org.apache.pekko.util.ByteString

/** Writes documents of type `D` as relaxed Extended JSON v2: compact, in UTF-8, keys in stored order. */
trait ExtendedJson[D] {
  def write(document: D, json: JsonBuffer): Unit
}

object ExtendedJson {
  // Most documents fit; a longer one makes the buffer grow.
  private val InitialBytes = 1024

  /** Returns `document` as one line of JSON. */
  def encode[D](document: D)(implicit format: ExtendedJson[D]): ByteString = {
    val json = new JsonBuffer(InitialBytes)
    format.write(document, json)
    json.result
  }

  implicit val ofReactiveMongo: ExtendedJson[reactivemongo.api.bson.BSONDocument] = ReactiveMongoJson
  implicit val ofMongoDriver: ExtendedJson[org.bson.BsonDocument]                 = MongoDriverJson
}
