package articles

import scala.concurrent.{ ExecutionContext, Future }

import org.apache.pekko.stream.scaladsl.Source
import org.apache.pekko.util.ByteString
import play.api.http.{ HttpEntity, HttpErrorHandler, Status }
import play.api.mvc.{ RequestHeader, Result, Results }

/** A reply whose body is JSON already. */
object Json {
  private val ContentType = Some("application/json")

  def apply(status: Results.Status, json: ByteString): Result =
    status.sendEntity(HttpEntity.Strict(json, ContentType))

  /** In pieces, as fast as the client takes them. Then, or when the client has gone, `sent` is called. */
  def inPieces(status: Results.Status, json: ByteString)(sent: => Unit): Result = {
    val pieces = Source.fromIterator(() => json.grouped(64 * 1024)).watchTermination() { (_, ended) =>
      ended.onComplete(_ => sent)(ExecutionContext.parasitic)
    }
    status.sendEntity(HttpEntity.Streamed(pieces, Some(json.length.toLong), ContentType))
  }
}

/** Errors as JSON, in place of Play's pages. */
object JsonError extends HttpErrorHandler {
  def apply(status: Results.Status, error: String): Result = Json(status, ByteString(s"""{"error":"$error"}"""))

  override def onClientError(request: RequestHeader, statusCode: Int, message: String): Future[Result] = {
    val error = statusCode match {
      case Status.NOT_FOUND => "not found"
      // Not the message that Play has for it: it may quote the request.
      case _ => "bad request"
    }
    Future.successful(JsonError(Results.Status(statusCode), error))
  }

  // Play has written the trace to the log by now.
  override def onServerError(request: RequestHeader, exception: Throwable): Future[Result] =
    Future.successful(JsonError(Results.InternalServerError, "internal error"))
}
