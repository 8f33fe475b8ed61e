package articles

import java.math.{ BigDecimal, BigInteger, MathContext }
import java.nio.ByteBuffer
import java.time.Instant
import java.util.Random

import scala.jdk.CollectionConverters._

import org.bson._
import org.bson.codecs.{ BsonDocumentCodec, DecoderContext, EncoderContext }
import org.bson.io.BasicOutputBuffer
import org.bson.json.{ JsonMode, JsonWriterSettings }
import org.bson.types.{ Decimal128, ObjectId }
import reactivemongo.BsonBytes

/** Each document goes through bytes, as from a server, and through both drivers' decoders. */
final class ExtendedJsonSuite extends munit.FunSuite {
  private val codec = new BsonDocumentCodec
  private val id    = new ObjectId("53909ff6e4b0f0a1c2d3e401")

  private def bytesOf(document: BsonDocument): Array[Byte] = {
    val buffer = new BasicOutputBuffer
    codec.encode(new BsonBinaryWriter(buffer), document, EncoderContext.builder().build())
    buffer.toByteArray
  }

  private def byMongoDriver(bson: Array[Byte]): String = {
    val document = codec.decode(new BsonBinaryReader(ByteBuffer.wrap(bson)), DecoderContext.builder().build())
    ExtendedJson.encode(document).utf8String
  }

  private def byReactiveMongo(bson: Array[Byte]): String = ExtendedJson.encode(BsonBytes.decode(bson)).utf8String

  private def check(document: BsonDocument, expected: String)(implicit location: munit.Location): Unit = {
    val bson = bytesOf(document)
    assertEquals(byMongoDriver(bson), expected)
    assertEquals(byReactiveMongo(bson), expected)
  }

  private def date(text: String) = new BsonDateTime(Instant.parse(text).toEpochMilli)

  private def binary(subtype: Int) = new BsonBinary(subtype.toByte, Array[Byte](1, -1, 127))

  private val values: Seq[(String, BsonValue, String)] = Seq(
    ("double", new BsonDouble(4.375), "4.375"),
    ("whole double", new BsonDouble(4), "4.0"),
    ("negative zero", new BsonDouble(-0.0), "-0.0"),
    ("NaN", new BsonDouble(Double.NaN), """{"$numberDouble":"NaN"}"""),
    ("Infinity", new BsonDouble(Double.PositiveInfinity), """{"$numberDouble":"Infinity"}"""),
    ("-Infinity", new BsonDouble(Double.NegativeInfinity), """{"$numberDouble":"-Infinity"}"""),
    ("string", new BsonString("größe 東京 🚀 \u007f\u2028/"), "\"größe 東京 🚀 \u007f\u2028/\""),
    ("escapes", new BsonString("\"\\\b\f\n\r\t\u0000\u001f"), "\"\\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u001f\""),
    ("empty string", new BsonString(""), "\"\""),
    ("document", new BsonDocument("a", new BsonInt32(1)), """{"a":1}"""),
    ("empty document", new BsonDocument, "{}"),
    ("array", new BsonArray(Seq(new BsonInt32(1), BsonNull.VALUE, new BsonArray).asJava), "[1,null,[]]"),
    ("objectid", new BsonObjectId(id), """{"$oid":"53909ff6e4b0f0a1c2d3e401"}"""),
    ("true", BsonBoolean.TRUE, "true"),
    ("false", BsonBoolean.FALSE, "false"),
    ("null", BsonNull.VALUE, "null"),
    ("undefined", new BsonUndefined, """{"$undefined":true}"""),
    ("int32", new BsonInt32(Int.MinValue), "-2147483648"),
    ("int64", new BsonInt64(Long.MaxValue), "9223372036854775807"),
    ("date with a fraction", date("2014-06-01T12:00:00.120Z"), """{"$date":"2014-06-01T12:00:00.120Z"}"""),
    ("date without", date("2014-06-01T12:00:00Z"), """{"$date":"2014-06-01T12:00:00Z"}"""),
    ("first date", date("1970-01-01T00:00:00.001Z"), """{"$date":"1970-01-01T00:00:00.001Z"}"""),
    ("last date", date("9999-12-31T23:59:59.999Z"), """{"$date":"9999-12-31T23:59:59.999Z"}"""),
    ("date before 1970", new BsonDateTime(-1), """{"$date":{"$numberLong":"-1"}}"""),
    ("date after 9999", new BsonDateTime(253402300800000L), """{"$date":{"$numberLong":"253402300800000"}}"""),
    ("most distant date", new BsonDateTime(Long.MinValue), """{"$date":{"$numberLong":"-9223372036854775808"}}"""),
    (
      "regex",
      new BsonRegularExpression("a\"b", "im"),
      """{"$regularExpression":{"pattern":"a\"b","options":"im"}}""".replace("a\"b", "a\\\"b")
    ),
    (
      "dbpointer",
      new BsonDbPointer("a.b", id),
      """{"$dbPointer":{"$ref":"a.b","$id":{"$oid":"53909ff6e4b0f0a1c2d3e401"}}}"""
    ),
    ("code", new BsonJavaScript("f()"), """{"$code":"f()"}"""),
    (
      "code with scope",
      new BsonJavaScriptWithScope("f()", new BsonDocument("x", new BsonInt32(1))),
      """{"$code":"f()","$scope":{"x":1}}"""
    ),
    ("symbol", new BsonSymbol("s"), """{"$symbol":"s"}"""),
    ("timestamp", new BsonTimestamp(-1, -2), """{"$timestamp":{"t":4294967295,"i":4294967294}}"""),
    ("decimal128", new BsonDecimal128(Decimal128.parse("-1.50E+3")), """{"$numberDecimal":"-1.50E+3"}"""),
    ("decimal128 NaN", new BsonDecimal128(Decimal128.NaN), """{"$numberDecimal":"NaN"}"""),
    ("minkey", new BsonMinKey, """{"$minKey":1}"""),
    ("maxkey", new BsonMaxKey, """{"$maxKey":1}""")
  )

  values.foreach { case (name, value, expected) =>
    test(name)(check(new BsonDocument("v", value), s"""{"v":$expected}"""))
  }

  test("binary of every subtype") {
    (0 to 255).foreach { subtype =>
      check(
        new BsonDocument("v", binary(subtype)),
        f"""{"v":{"$$binary":{"base64":"Af9/","subType":"$subtype%02x"}}}"""
      )
    }
  }

  test("keys keep their order and are escaped") {
    val document = new BsonDocument("b", BsonNull.VALUE).append("10", BsonNull.VALUE).append("9", BsonNull.VALUE)
    check(
      document.append("a\"\n", BsonNull.VALUE).append("", BsonNull.VALUE),
      """{"b":null,"10":null,"9":null,"a\"\n":null,"":null}""".replace("a\"\n", "a\\\"\\n")
    )
  }

  test("invalid UTF-8 becomes the replacement character") {
    val bson = bytesOf(new BsonDocument("v", new BsonString("xxxx")))
    bson(bson.indexOf('x'.toByte)) = 0xff.toByte
    assertEquals(byMongoDriver(bson), "{\"v\":\"\ufffdxxx\"}")
    assertEquals(byReactiveMongo(bson), "{\"v\":\"\ufffdxxx\"}")
  }

  test("doubles as Python and JavaScript write them") {
    // Double.toString of Java 17 has other digits for most of these.
    Seq(
      0.001              -> "0.001",
      0.002              -> "0.002",
      2.0e-3             -> "0.002",
      0.1 + 0.2          -> "0.30000000000000004",
      2.2250738585072014 -> "2.2250738585072014",
      1.1e-3             -> "0.0011",
      9999999.999999998  -> "9999999.999999998",
      1.0e6 / 3          -> "333333.3333333333",
      5e6 + 0.1          -> "5000000.1",
      -123.456           -> "-123.456",
      2.0e5 + 0.003      -> "200000.003",
      4.35 * 100         -> "434.99999999999994"
    ).foreach { case (number, expected) =>
      check(new BsonDocument("v", new BsonDouble(number)), s"""{"v":$expected}""")
    }
  }

  test("no double has fewer digits that read back as itself") {
    val random = new Random(2014)
    (1 to 200000).foreach { _ =>
      val number = math.pow(10, random.nextDouble() * 10 - 3) * (if (random.nextBoolean()) 1 else -1)
      val json   = new JsonBuffer(32)
      json.double(number)
      val text    = json.result.utf8String
      val decimal = new BigDecimal(text)
      assertEquals(text.toDouble, number)
      val digits  = decimal.stripTrailingZeros.precision
      val shorter = new BigDecimal(number).round(new MathContext(math.max(1, digits - 1)))
      assert(digits == 1 || shorter.doubleValue != number, s"$text could be $shorter")
      // Of the shortest, the one that is closest.
      val closest = new BigDecimal(number).round(new MathContext(digits))
      assertEquals(decimal.compareTo(closest), 0, s"$text is not $closest")
    }
  }

  test("random documents read back as what the driver's own relaxed writer says") {
    val random  = new Random(1)
    val relaxed = JsonWriterSettings.builder().outputMode(JsonMode.RELAXED).build()
    (1 to 3000).foreach { _ =>
      val document = randomDocument(random, depth = 3)
      val bson     = bytesOf(document)
      val json     = byMongoDriver(bson)
      assertEquals(byReactiveMongo(bson), json)
      assertEquals(BsonDocument.parse(json), BsonDocument.parse(document.toJson(relaxed)))
    }
  }

  private def randomDocument(random: Random, depth: Int): BsonDocument = {
    val document = new BsonDocument
    (0 until random.nextInt(8)).foreach(at => document.append(s"$at${randomText(random)}", randomValue(random, depth)))
    document
  }

  private def randomValue(random: Random, depth: Int): BsonValue = random.nextInt(if (depth > 0) 17 else 15) match {
    case 0 => new BsonDouble(java.lang.Double.longBitsToDouble(random.nextLong()))
    case 1 => new BsonDouble(random.nextInt(1000000) / 1000.0)
    case 2 => new BsonString(randomText(random))
    case 3 => new BsonInt32(random.nextInt())
    case 4 => new BsonInt64(random.nextLong() >> random.nextInt(64))
    case 5 => new BsonDateTime(random.nextLong() >> (8 + random.nextInt(40)))
    case 6 => new BsonObjectId(new ObjectId(random.nextInt(), random.nextInt(1 << 24)))
    case 7 => new BsonDecimal128(new Decimal128(new BigDecimal(new BigInteger(112, random), random.nextInt(6000))))
    // Two subtypes are UUIDs, and those the driver checks for their length.
    case 8  => new BsonBinary(Seq[Byte](0, 1, 5, 9, -128, -1)(random.nextInt(6)), randomText(random).getBytes)
    case 9  => new BsonTimestamp(random.nextInt(), random.nextInt())
    case 10 => new BsonRegularExpression(randomText(random).replace("\u0000", ""), "imsx")
    case 11 => new BsonSymbol(randomText(random))
    case 12 => new BsonJavaScript(randomText(random))
    case 13 => BsonBoolean.valueOf(random.nextBoolean())
    // No DBPointer: the driver writes it as a DBRef, which is another type.
    case 14 => Seq(BsonNull.VALUE, new BsonUndefined, new BsonMinKey, new BsonMaxKey)(random.nextInt(4))
    case 15 => randomDocument(random, depth - 1)
    case 16 => new BsonArray(Seq.fill(random.nextInt(5))(randomValue(random, depth - 1)).asJava)
  }

  private def randomText(random: Random): String = {
    val text = new java.lang.StringBuilder
    (0 until random.nextInt(12)).foreach { _ =>
      random.nextInt(4) match {
        case 0 => text.append((' ' + random.nextInt(95)).toChar)
        case 1 => text.append((1 + random.nextInt(31)).toChar)
        case 2 => text.append((0xa0 + random.nextInt(0x3000)).toChar)
        case _ => text.appendCodePoint(0x1f300 + random.nextInt(0x200))
      }
    }
    text.toString
  }
}
