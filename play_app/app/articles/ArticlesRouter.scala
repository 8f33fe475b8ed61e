package articles

import java.nio.charset.StandardCharsets.UTF_8

import scala.concurrent.duration._
import scala.concurrent.{ ExecutionContext, Future }
import scala.jdk.CollectionConverters._

import io.netty.handler.codec.http.QueryStringDecoder
import org.apache.pekko.actor.Scheduler
import org.apache.pekko.pattern.after
import org.apache.pekko.util.ByteString
import play.api.Logger
import play.api.http.HttpVerbs
import play.api.mvc.Results._
import play.api.mvc._
import play.api.routing.Router.Routes
import play.api.routing.SimpleRouter

/** What is served. `D` is the driver's own document: what a handler has in its hands before it is encoded. */
final class ArticlesRouter[D: ExtendedJson](
    documents: DocumentStore[D],
    turns: Turns,
    Action: DefaultActionBuilder,
    scheduler: Scheduler
)(implicit ec: ExecutionContext)
    extends SimpleRouter {
  import ArticlesRouter._

  private val pages: Map[String, Handler] = Map(
    "/mongo"     -> document("articles"),
    "/mongo_big" -> document("articles_big"),
    "/sleep"     -> sleep
  )

  override val routes: Routes = Function.unlift { request =>
    pages.get(request.path).map { page =>
      if (Allowed.contains(request.method)) page else methodNotAllowed
    }
  }

  private def document(collection: String) = Action.async { _ =>
    turns
      .run(collection) { turn =>
        documents.findOne(collection, turn.waited).map {
          case Some(document) => turn.reply(ExtendedJson.encode(document))
          case None           => JsonError(NotFound, "no document")
        }
      }
      .recover { case unavailable: DatabaseUnavailable =>
        logger.warn(s"$collection: ${unavailable.getMessage}")
        JsonError(ServiceUnavailable, "database unavailable").withHeaders("Retry-After" -> "1")
      }
  }

  private def sleep = Action.async { request =>
    sleepMs(request) match {
      case Some(ms) => after(ms.millis, scheduler)(Future.successful(Json(Ok, ByteString(s"""{"slept_ms":$ms}"""))))
      case None     => Future.successful(JsonError(BadRequest, "ms must be an integer from 0 to 10000"))
    }
  }

  private def methodNotAllowed = Action {
    JsonError(MethodNotAllowed, "method not allowed").withHeaders("Allow" -> Allowed.mkString(", "))
  }
}

object ArticlesRouter {
  private val logger  = Logger("articles")
  private val Allowed = Seq(HttpVerbs.GET, HttpVerbs.HEAD)

  private def sleepMs(request: RequestHeader): Option[Int] = {
    // Play's own reading parts them at `;` too, and sees the first 1,024 only.
    val query = new QueryStringDecoder(request.rawQueryString, UTF_8, false, Int.MaxValue, true).parameters
    query.asScala.get("ms").fold(Seq("1000"))(_.asScala.toSeq) match {
      case Seq(ms) if ms.matches("[0-9]{1,5}") && ms.toInt <= 10000 => Some(ms.toInt)
      case _                                                        => None
    }
  }
}
