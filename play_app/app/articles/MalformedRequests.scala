package articles

import io.netty.channel.{ ChannelHandlerContext, ChannelInboundHandlerAdapter }
import io.netty.handler.codec.DecoderResult
import io.netty.handler.codec.http.{ HttpHeaderNames, HttpHeaderValues, HttpMethod, HttpRequest, HttpVersion }
import io.netty.util.ReferenceCountUtil

/** Prepares the requests of one connection that Play's Netty backend would answer in plain text, close without an
  * answer and log, or read in another way than a server in front of it.
  */
final private class MalformedRequests extends ChannelInboundHandlerAdapter {
  import MalformedRequests._

  private var isLast  = false
  private var isEnded = false

  override def channelRead(context: ChannelHandlerContext, message: Any): Unit = {
    if (isLast && message.isInstanceOf[HttpRequest]) isEnded = true
    if (isEnded) ReferenceCountUtil.release(message): Unit
    else {
      prepare(message)
      context.fireChannelRead(message): Unit
    }
  }

  private def prepare(message: Any): Unit =
    message match {
      case request: HttpRequest =>
        if (!PlainTarget.matches(request.uri)) request.setUri(originForm(request.uri)): Unit
        // A list of tokens, of which Play wants to see one, alone.
        Seq(HttpHeaderValues.CLOSE, HttpHeaderValues.KEEP_ALIVE)
          .find(request.headers.containsValue(HttpHeaderNames.CONNECTION, _, true))
          .foreach(request.headers.set(HttpHeaderNames.CONNECTION, _))
        def refuse(why: String) = request.setDecoderResult(DecoderResult.failure(new IllegalArgumentException(why)))
        // Netty reads any version, and a request without Host, which two servers could take for different sites.
        val is11 = request.protocolVersion == HttpVersion.HTTP_1_1 && request.headers.contains(HttpHeaderNames.HOST)
        if (!is11 && request.protocolVersion != HttpVersion.HTTP_1_0) refuse("version or Host")
        val length = request.headers.get(HttpHeaderNames.CONTENT_LENGTH)
        if (length != null && !ContentLength.matches(length)) {
          request.headers.remove(HttpHeaderNames.CONTENT_LENGTH)
          refuse("Content-Length")
        }
        if (request.headers.contains(HttpHeaderNames.TRANSFER_ENCODING)) {
          // Netty has dropped a Content-Length beside it, so what follows may be a body for whoever is in front of this
          // server: it must not be taken for a request.
          isLast = true
          request.headers.set(HttpHeaderNames.CONNECTION, HttpHeaderValues.CLOSE)
          // A handler would run before the body is known to be well formed, and none takes one.
          if (request.method == HttpMethod.GET || request.method == HttpMethod.HEAD) refuse("Transfer-Encoding")
        }
      case _ =>
    }
}

private object MalformedRequests {
  private val ContentLength = "[0-9]{1,18}".r
  private val PlainTarget   = "/\\w[\\w/?&=.-]*".r
  private val AbsoluteForm  = "(?i)^https?://[^/?#]*".r
  private val Escape        = "%([0-9a-fA-F]{2})".r
  // A % that starts no escape is a character like another. The rest Play refuses in a path.
  private val Illegal    = "%(?![0-9a-fA-F]{2})|[^\\w.~!$&'()*+,;=:@/?#%-]".r
  private val Unreserved = "[A-Za-z0-9._~-]".r

  /** The path and query of `target`, with escapes only where the plain character would mean something else. */
  private def originForm(target: String): String = {
    val origin = AbsoluteForm.replaceFirstIn(target, "")
    val legal  = Illegal.replaceAllIn(origin, character => f"%%${character.matched.head.toInt}%02X")
    val plain  = Escape.replaceAllIn(
      legal,
      escape => {
        val character = Integer.parseInt(escape.group(1), 16).toChar.toString
        if (Unreserved.matches(character)) character else escape.matched
      }
    )
    // Play would take two slashes for the start of a host, and what has none for a path behind it.
    if (plain.startsWith("//")) s"/%2F${plain.drop(2)}" else if (plain.startsWith("/")) plain else s"/%2F$plain"
  }
}
