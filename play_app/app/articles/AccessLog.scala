package articles

import scala.concurrent.ExecutionContext

import play.api.Logger
import play.api.mvc.{ EssentialAction, EssentialFilter }

/** A line for each request: client, method, target, status, milliseconds. */
final class AccessLog(implicit ec: ExecutionContext) extends EssentialFilter {
  private val logger = Logger("access")

  override def apply(next: EssentialAction): EssentialAction = EssentialAction { request =>
    val started = System.nanoTime()
    next(request).map { result =>
      val ms = (System.nanoTime() - started) / 1000000
      logger.info(s"${request.remoteAddress} ${request.method} ${request.uri} ${result.header.status} $ms ms")
      result
    }
  }
}
