package articles

import java.nio.ByteBuffer
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{ Files, NoSuchFileException, Path }

import scala.jdk.CollectionConverters._

import org.bson._
import org.bson.codecs.{ BsonDocumentCodec, DecoderContext, EncoderContext }
import org.bson.io.BasicOutputBuffer
import org.bson.json.{ JsonMode, JsonWriterSettings }
import org.bson.types.ObjectId
import reactivemongo.BsonBytes

/** Times what a request costs beside HTTP and the network: BSON to the driver's document, and that to bytes of JSON.
  *
  * `encode-bench [FILE]`, where FILE holds one BSON document. BENCH_QUICK=1 takes a tenth of the time.
  */
object EncodeBench {
  private val quick          = sys.env.get("BENCH_QUICK").contains("1")
  private val warmUpS        = if (quick) 1.0 else 4.0
  private val rounds         = if (quick) 5 else 21
  private val roundS         = if (quick) 0.05 else 0.12
  private val codec          = new BsonDocumentCodec
  private val relaxed        = JsonWriterSettings.builder().outputMode(JsonMode.RELAXED).build()
  @volatile private var sink = 0

  final private case class Candidate(name: String, run: Array[Byte] => Int)

  private val ours =
    Candidate("official driver's document, this application's writer", bson => ExtendedJson.encode(decode(bson)).length)
  private val reactive = Candidate(
    "ReactiveMongo's document, this application's writer",
    bson => ExtendedJson.encode(BsonBytes.decode(bson)).length
  )
  private val drivers = Candidate(
    "official driver's document, its toJson(relaxed)",
    bson => decode(bson).toJson(relaxed).getBytes(UTF_8).length
  )

  def main(arguments: Array[String]): Unit = {
    val bson =
      try arguments.headOption.fold(sample())(file => Files.readAllBytes(Path.of(file)))
      catch {
        case missing: NoSuchFileException =>
          System.err.println(s"no such file: ${missing.getFile}")
          sys.exit(2)
      }
    val encoded = ExtendedJson.encode(decode(bson))
    require(encoded == ExtendedJson.encode(BsonBytes.decode(bson)), "the two drivers' documents give different JSON")
    require(
      BsonDocument.parse(encoded.utf8String) == BsonDocument.parse(decode(bson).toJson(relaxed)),
      "the JSON is wrong"
    )

    val candidates = Seq(ours, reactive, drivers)
    println(f"one document of ${bson.length}%,d bytes of BSON, ${encoded.length}%,d of JSON; decode and encode, µs")
    val started = System.nanoTime()
    while (System.nanoTime() - started < warmUpS * 1e9) candidates.foreach(time(_, bson))
    // Round by round, so that what slows the machine for a while slows all of them.
    val times = Seq.fill(rounds)(candidates.map(time(_, bson))).transpose
    println(f"${""}%-56s${"median"}%8s${"least"}%8s${"most"}%8s")
    candidates.zip(times).foreach { case (candidate, us) =>
      println(f"${candidate.name}%-56s${median(us)}%8.1f${us.min}%8.1f${us.max}%8.1f")
    }
    val (oursUs, reactiveUs, driversUs) = (times(0), times(1), times(2))
    val ratio                           = median(oursUs) / median(driversUs)
    val reactiveRatio                   = median(reactiveUs) / median(driversUs)
    println(
      s"""{"encoder":"${ours.name}","encoder_us":${json(oursUs)},"baseline":"${drivers.name}","baseline_us":${json(
          driversUs
        )},""" +
        f""""ratio":$ratio%.3f,"reactivemongo_us":${json(reactiveUs)},"reactivemongo_ratio":$reactiveRatio%.3f}"""
    )
  }

  /** Runs `candidate` for a round and returns the microseconds for one document. */
  private def time(candidate: Candidate, bson: Array[Byte]): Double = {
    val started = System.nanoTime()
    var runs    = 0
    while (System.nanoTime() - started < roundS * 1e9) {
      var i = 0
      while (i < 20) {
        sink += candidate.run(bson)
        i += 1
      }
      runs += 20
    }
    (System.nanoTime() - started) / 1e3 / runs
  }

  private def decode(bson: Array[Byte]): BsonDocument =
    codec.decode(new BsonBinaryReader(ByteBuffer.wrap(bson)), DecoderContext.builder().build())

  private def median(us: Seq[Double]): Double = us.sorted.apply(us.size / 2)

  private def json(us: Seq[Double]): String =
    f"""{"median":${median(us)}%.2f,"least":${us.min}%.2f,"most":${us.max}%.2f}"""

  /** An article with fields of the types that are common, about 6 KB. */
  private def sample(): Array[Byte] = {
    val document = new BsonDocument("_id", new BsonObjectId(new ObjectId))
    (1 to 30).foreach { number =>
      document
        .append(s"title$number", new BsonString(s"Événement $number: \"größe\" and 東京, with a sentence of some words"))
        .append(s"count$number", new BsonInt32(number * 1000))
        .append(s"views$number", new BsonInt64(5_000_000_000L + number))
        .append(s"score$number", new BsonDouble(number + 0.1234))
        .append(s"moment$number", new BsonDateTime(1401624000123L + number))
        .append(
          s"meta$number",
          new BsonDocument("ok", BsonBoolean.TRUE).append("tags", new BsonArray(Seq(BsonNull.VALUE).asJava))
        )
    }
    val buffer = new BasicOutputBuffer
    codec.encode(new BsonBinaryWriter(buffer), document, EncoderContext.builder().build())
    buffer.toByteArray
  }
}
