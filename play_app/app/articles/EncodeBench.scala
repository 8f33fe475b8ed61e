package articles

import java.nio.ByteBuffer
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{ Files, Path }

import org.bson.codecs.{ BsonDocumentCodec, DecoderContext }
import org.bson.json.{ JsonMode, JsonWriterSettings }
import org.bson.{ BsonBinaryReader, BsonDocument }
import reactivemongo.api.bson.BSONDocument

object EncodeBench {
  def main(arguments: Array[String]): Unit = {
    val bson = Files.readAllBytes(Path.of(arguments(0)))
    val codec = new BsonDocumentCodec
    def driver() = codec.decode(new BsonBinaryReader(ByteBuffer.wrap(bson)), DecoderContext.builder().build())
    val relaxed = JsonWriterSettings.builder().outputMode(JsonMode.RELAXED).build()
    val rm = (bytes: Array[Byte]) => reactivemongo.bench.Decode(bytes)
    val candidates = Seq[(String, () => Int)](
      "driver decode" -> (() => driver().size()),
      "driver decode+ours" -> (() => ExtendedJson.encode[BsonDocument](driver()).length),
      "driver decode+toJson" -> (() => driver().toJson(relaxed).getBytes(UTF_8).length),
      "rm decode" -> (() => rm(bson).size),
      "rm decode+ours" -> (() => ExtendedJson.encode[BSONDocument](rm(bson)).length)
    )
    for (round <- 1 to 6; (name, run) <- candidates) {
      val t = System.nanoTime(); var n = 0; var sink = 0
      while (System.nanoTime() - t < 500000000L) { var i = 0; while (i < 50) { sink += run(); i += 1 }; n += 50 }
      println(f"$round $name%-24s ${(System.nanoTime() - t) / 1000.0 / n}%.1f us $sink")
    }
  }
}
