package articles

import java.nio.ByteBuffer
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{ Files, Path }

import org.bson.codecs.{ BsonDocumentCodec, DecoderContext }
import org.bson.json.{ JsonMode, JsonWriterSettings }
import org.bson.{ BsonBinaryReader, BsonDocument }
import reactivemongo.BsonBytes

/** Times what a request costs beside HTTP and the network: BSON to the driver's document, and that to bytes of JSON.
  *
  * `encode-bench FILE`, where FILE holds one BSON document. BENCH_QUICK=1 takes a tenth of the time.
  */
object EncodeBench {
  private val quick                          = sys.env.get("BENCH_QUICK").contains("1")
  private val (warmUpRounds, rounds, roundS) = if (quick) (20, 5, 0.05) else (35, 21, 0.12)
  private val codec                          = new BsonDocumentCodec
  private val relaxed                        = JsonWriterSettings.builder().outputMode(JsonMode.RELAXED).build()
  private val ours                           = "official driver's document, this application's writer"
  private val baseline                       = "official driver's document, its toJson(relaxed)"
  @volatile private var sink                 = 0

  def main(arguments: Array[String]): Unit = {
    val bson    = Files.readAllBytes(Path.of(arguments.headOption.getOrElse(sys.error("encode-bench FILE"))))
    val encoded = ExtendedJson.encode(decode(bson))
    require(encoded == ExtendedJson.encode(BsonBytes.decode(bson)), "the two drivers' documents give different JSON")
    require(BsonDocument.parse(encoded.utf8String) == BsonDocument.parse(decode(bson).toJson(relaxed)), "wrong JSON")
    val candidates = Seq[() => Int](
      () => ExtendedJson.encode(decode(bson)).length,
      () => decode(bson).toJson(relaxed).getBytes(UTF_8).length,
      () => ExtendedJson.encode(BsonBytes.decode(bson)).length
    )
    // Round by round, so that what slows the machine for a while slows all of them.
    val times = Seq.fill(warmUpRounds + rounds)(candidates.map(time)).drop(warmUpRounds).transpose.map(_.sorted)
    val (ourUs, baseUs, rmUs) = (times(0), times(1), times(2))
    println(s"one document of ${bson.length} bytes of BSON, ${encoded.length} of JSON; decode and encode, in µs")
    println(
      s"""{"encoder":"$ours","encoder_us":${json(ourUs)},"baseline":"$baseline","baseline_us":${json(baseUs)},""" +
        f""""ratio":${median(ourUs) / median(baseUs)}%.3f,"reactivemongo_us":${json(rmUs)},""" +
        f""""reactivemongo_ratio":${median(rmUs) / median(baseUs)}%.3f}"""
    )
  }

  /** Runs `candidate` for a round and returns the microseconds for one document. */
  private def time(candidate: () => Int): Double = {
    val started = System.nanoTime()
    var runs    = 0
    while (System.nanoTime() - started < roundS * 1e9) {
      (1 to 20).foreach(_ => sink += candidate())
      runs += 20
    }
    (System.nanoTime() - started) / 1e3 / runs
  }

  private def decode(bson: Array[Byte]): BsonDocument =
    codec.decode(new BsonBinaryReader(ByteBuffer.wrap(bson)), DecoderContext.builder().build())

  private def median(sorted: Seq[Double]): Double = sorted(sorted.size / 2)

  private def json(sorted: Seq[Double]): String =
    f"""{"median":${median(sorted)}%.2f,"least":${sorted.head}%.2f,"most":${sorted.last}%.2f}"""
}
