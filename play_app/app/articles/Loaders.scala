package articles

import play.api.ApplicationLoader.Context
import play.api.http.HttpErrorHandler
import play.api.mvc.{ AnyContent, AnyContentAsEmpty, DefaultActionBuilder, EssentialFilter }
import play.api.routing.Router
import play.api.{ Application, ApplicationLoader, BuiltInComponentsFromContext, LoggerConfigurator }

/** The application on ReactiveMongo. */
final class ReactiveLoader extends ApplicationLoader {
  override def load(context: Context): Application =
    new ArticlesComponents(context) {
      private val documents       = new ReactiveStore(settings, actorSystem.scheduler)
      override val router: Router = served(documents)
    }.application
}

/** The application on MongoDB's official driver, which blocks. */
final class BlockingLoader extends ApplicationLoader {
  override def load(context: Context): Application =
    new ArticlesComponents(context) {
      private val documents       = new BlockingStore(settings)
      override val router: Router = served(documents)
    }.application
}

/** Everything but the store, wired by hand. */
abstract class ArticlesComponents(context: Context) extends BuiltInComponentsFromContext(context) {

  LoggerConfigurator(environment.classLoader).foreach(_.configure(environment))

  protected val settings: Settings = Settings.read(sys.env)

  override def httpFilters: Seq[EssentialFilter] = if (settings.accessLog) Seq(new AccessLog) else Nil

  override lazy val httpErrorHandler: HttpErrorHandler = JsonError

  protected def served[D: ExtendedJson](documents: DocumentStore[D]): Router = {
    applicationLifecycle.addStopHook(() => documents.close())
    // The bodies of requests mean nothing here, and to read them would only take memory.
    val ignoringBodies = DefaultActionBuilder(playBodyParsers.ignore[AnyContent](AnyContentAsEmpty))
    val turns          = new Turns(documents.places, settings.dbTimeout, actorSystem.scheduler)
    new ArticlesRouter(documents, turns, ignoringBodies, actorSystem.scheduler)
  }
}
