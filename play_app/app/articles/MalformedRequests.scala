package articles

import io.netty.channel.ChannelHandler.Sharable
import io.netty.channel.{ ChannelHandlerContext, ChannelInboundHandlerAdapter }
import io.netty.handler.codec.DecoderResult
import io.netty.handler.codec.http.{ HttpHeaderNames, HttpRequest, HttpVersion }

/** Prepares the requests that Play's Netty backend would answer in plain text, or close without an answer and log. */
@Sharable
private object MalformedRequests extends ChannelInboundHandlerAdapter {
  private val StrayPercent  = "%(?![0-9a-fA-F]{2})".r
  private val ContentLength = "[0-9]{1,18}".r

  override def channelRead(context: ChannelHandlerContext, message: Any): Unit = {
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
      case _ =>
    }
    context.fireChannelRead(message): Unit
  }
}
