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
        // As browsers and most servers read it: a % that starts no escape is a character like another.
        if (request.uri.contains('%')) request.setUri(StrayPercent.replaceAllIn(request.uri, "%25")): Unit
        // Netty reads any version, and a request without Host, which two servers could take for different sites.
        val version = request.protocolVersion
        val host    = request.headers.contains(HttpHeaderNames.HOST)
        if (
          (version != HttpVersion.HTTP_1_1 && version != HttpVersion.HTTP_1_0) || (version == HttpVersion.HTTP_1_1 && !host)
        )
          request.setDecoderResult(DecoderResult.failure(new IllegalArgumentException("version or Host")))
        val length = request.headers.get(HttpHeaderNames.CONTENT_LENGTH)
        if (length != null && !ContentLength.matches(length)) {
          request.headers.remove(HttpHeaderNames.CONTENT_LENGTH)
          request.setDecoderResult(DecoderResult.failure(new IllegalArgumentException("Content-Length")))
        }
        if (request.headers.contains(HttpHeaderNames.TRANSFER_ENCODING)) {
          // Netty has dropped a Content-Length beside it, so what follows may be a body for whoever is in front of this
          // server: it must not be taken for a request.
          isLast = true
          request.headers.set(HttpHeaderNames.CONNECTION, HttpHeaderValues.CLOSE)
          // A handler would run before the body is known to be well formed, and none takes one.
          if (request.method == HttpMethod.GET || request.method == HttpMethod.HEAD)
            request.setDecoderResult(DecoderResult.failure(new IllegalArgumentException("Transfer-Encoding")))
        }
      case _ =>
    }
}

private object MalformedRequests {
  private val StrayPercent  = "%(?![0-9a-fA-F]{2})".r
  private val ContentLength = "[0-9]{1,18}".r
}
