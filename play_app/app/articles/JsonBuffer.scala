package articles

import java.nio.charset.StandardCharsets.{ ISO_8859_1, UTF_8 }
import java.time.format.DateTimeFormatter
import java.time.{ Instant, ZoneOffset }
import java.util.{ Arrays, Base64 }

import com.fasterxml.jackson.core.io.NumberOutput
import org.apache.pekko.util.ByteString

/** Bytes of JSON under way: one method for each BSON type that is more than a container.
  *
  * The forms are those of the MongoDB specification "Extended JSON" version 2, relaxed.
  */
final class JsonBuffer(initialBytes: Int) {
  import JsonBuffer._

  private var bytes  = new Array[Byte](initialBytes)
  private var length = 0

  /** The JSON written so far. The buffer must not be written to afterwards. */
  def result: ByteString = ByteString.fromArrayUnsafe(bytes, 0, length)

  /** Writes punctuation, or another character below 0x80, as it is. */
  def raw(character: Char): Unit = {
    if (length == bytes.length) grow(1)
    bytes(length) = character.toByte
    length += 1
  }

  /** Writes text that holds no character above 0x7f and needs no escape. */
  def raw(ascii: String): Unit = {
    val count = ascii.length
    if (count > bytes.length - length) grow(count)
    // Deprecated because it drops the upper halves of characters: these have none, and nothing else is as fast.
    ascii.getBytes(0, count, bytes, length): @annotation.nowarn("cat=deprecation")
    length += count
  }

  def string(text: String): Unit = {
    raw('"')
    val utf8  = text.getBytes(UTF_8)
    var start = 0
    var at    = 0
    while (at < utf8.length) {
      val byte = utf8(at)
      // The bytes of characters above 0x7f are negative.
      if (byte < 0x60 && byte >= 0 && Escapes(byte) != null) {
        append(utf8, start, at)
        raw(Escapes(byte))
        start = at + 1
      }
      at += 1
    }
    append(utf8, start, utf8.length)
    raw('"')
  }

  def boolean(value: Boolean): Unit = raw(if (value) "true" else "false")

  def int32(value: Int): Unit = raw(value.toString)

  def int64(value: Long): Unit = raw(value.toString)

  /** The shortest decimal that reads back as `value`, as Python and JavaScript write it. */
  def double(value: Double): Unit =
    if (value.isNaN) raw("""{"$numberDouble":"NaN"}""")
    else if (value.isInfinite)
      raw(if (value > 0) """{"$numberDouble":"Infinity"}""" else """{"$numberDouble":"-Infinity"}""")
    // Double.toString writes 2.0E-3 as 0.0020 and more digits than needed for many others before Java 19 (JDK-4511638).
    else raw(NumberOutput.toString(value, true))

  def dateTime(epochMillis: Long): Unit =
    if (epochMillis >= 0 && epochMillis < EpochMillisOfYear10000) {
      raw("""{"$date":"""")
      val seconds = epochMillis / 1000
      raw(IsoSeconds.format(Instant.ofEpochSecond(seconds)))
      val millis = (epochMillis % 1000).toInt
      if (millis != 0) {
        raw('.')
        raw(('0' + millis / 100).toChar)
        raw(('0' + millis / 10 % 10).toChar)
        raw(('0' + millis      % 10).toChar)
      }
      raw("""Z"}""")
    } else raw(s"""{"$$date":{"$$numberLong":"$epochMillis"}}""")

  def objectId(bytes: Array[Byte]): Unit = {
    raw("""{"$oid":"""")
    bytes.foreach { byte =>
      raw(Hex.charAt(byte >> 4 & 15))
      raw(Hex.charAt(byte & 15))
    }
    raw(""""}""")
  }

  def decimal128(text: String): Unit = raw(s"""{"$$numberDecimal":"$text"}""")

  def binary(subtype: Int, content: Array[Byte]): Unit = {
    raw("""{"$binary":{"base64":"""")
    raw(new String(Base64.getEncoder.encode(content), ISO_8859_1))
    raw(s"""","subType":"${Hex.charAt(subtype >> 4 & 15)}${Hex.charAt(subtype & 15)}"}}""")
  }

  def regularExpression(pattern: String, options: String): Unit = {
    raw("""{"$regularExpression":{"pattern":""")
    string(pattern)
    raw(""","options":""")
    string(options)
    raw("}}")
  }

  /** Both halves are unsigned. */
  def timestamp(value: Long): Unit =
    raw(s"""{"$$timestamp":{"t":${value >>> 32},"i":${value & 0xffffffffL}}}""")

  def code(code: String): Unit = {
    raw("""{"$code":""")
    string(code)
    raw('}')
  }

  /** `scope` writes the document of the variables. */
  def codeWithScope(code: String)(scope: => Unit): Unit = {
    raw("""{"$code":""")
    string(code)
    raw(""","$scope":""")
    scope
    raw('}')
  }

  def symbol(name: String): Unit = {
    raw("""{"$symbol":""")
    string(name)
    raw('}')
  }

  def dbPointer(namespace: String, id: Array[Byte]): Unit = {
    raw("""{"$dbPointer":{"$ref":""")
    string(namespace)
    raw(""","$id":""")
    objectId(id)
    raw("}}")
  }

  private def append(source: Array[Byte], from: Int, until: Int): Unit = {
    val count = until - from
    if (count > bytes.length - length) grow(count)
    System.arraycopy(source, from, bytes, length, count)
    length += count
  }

  private def grow(count: Int): Unit =
    bytes = Arrays.copyOf(bytes, math.max(bytes.length * 2, length + count))
}

object JsonBuffer {
  private val Hex                    = "0123456789abcdef"
  private val EpochMillisOfYear10000 = 253402300800000L
  private val IsoSeconds             = DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss").withZone(ZoneOffset.UTC)

  // By the byte to escape. JSON allows everything else as it is.
  private val Escapes: Array[String] = {
    val table = new Array[String](0x60)
    (0 until 0x20).foreach(code => table(code) = f"\\u$code%04x")
    table('\b') = "\\b"
    table('\t') = "\\t"
    table('\n') = "\\n"
    table('\f') = "\\f"
    table('\r') = "\\r"
    table('"') = "\\\""
    table('\\') = "\\\\"
    table
  }
}
