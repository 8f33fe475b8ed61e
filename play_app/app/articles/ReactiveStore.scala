package articles

import scala.concurrent.duration._
import scala.concurrent.{ Await, ExecutionContext, Future, Promise }
import scala.util.{ Failure, Success }

import com.mongodb.{ AuthenticationMechanism, ConnectionString, MongoCredential }
import org.apache.pekko.actor.Scheduler
import org.apache.pekko.pattern.after
import reactivemongo.api.bson.BSONDocument
import reactivemongo.api.bson.collection.BSONCollection
import reactivemongo.api._
import reactivemongo.core.actors.Exceptions.ChannelNotFoundException
import reactivemongo.core.errors.DatabaseException

/** Documents by ReactiveMongo: no thread waits for the database.
  *
  * Requests wait for a connection in one place only, the turns, in the order in which they came.
  */
final class ReactiveStore(settings: Settings, scheduler: Scheduler)(implicit ec: ExecutionContext)
    extends DocumentStore[BSONDocument] {
  import ReactiveStore._

  private val uri        = new ConnectionString(settings.mongodbUri)
  private val parsed     = parse(uri)
  private val options    = driverOptions(parsed.options, uri, settings)
  private val driver     = AsyncDriver()
  private val connection = driver.connect(parsed.hosts.map { case (host, port) => s"$host:$port" }.toSeq, options)
  private val turns      = new Turns(options.nbChannelsPerNode)

  private val selectionTimeout = Option(uri.getServerSelectionTimeout).fold(DefaultSelectionTimeout)(_.intValue.millis)

  // Known, or being waited for, which is what other drivers call server selection.
  @volatile private var database: Future[DB] = connect()

  override def findOne(collection: String): Future[Option[BSONDocument]] = {
    val request = new Request(collection)
    val timer   = scheduler.scheduleOnce(settings.dbTimeout)(request.fail(s"no answer within ${settings.dbTimeout}"))
    request.result.onComplete(_ => timer.cancel())
    ask(request)
    request.result
  }

  override def close(): Future[Unit] = driver.close()

  private def ask(request: Request): Unit =
    reachable(request.selectionLeft).onComplete {
      case Success(database) =>
        turns.take(() => findInTurn(database, request))
      case Failure(error) => request.fail(firstLine(error))
    }

  private def findInTurn(database: DB, request: Request): Unit =
    if (request.isOver) turns.giveBack()
    else
      find(database, request.collection).onComplete {
        // While the driver connects there are fewer channels than turns, and none is free.
        case Failure(busy: ChannelNotFoundException) if busy.retriable =>
          scheduler.scheduleOnce(RetryDelay)(findInTurn(database, request)): Unit
        case found =>
          turns.giveBack()
          found match {
            case Success(document)                 => request.answer(document)
            case Failure(error: DatabaseException) => request.fail(firstLine(error))
            case Failure(error)                    => askAgain(request, error)
          }
      }

  // The driver has lost its connections, or has none for a moment, as while it authenticates new ones. A find may be
  // repeated, as other drivers do it.
  private def askAgain(request: Request, error: Throwable): Unit = {
    if (database.value.exists(_.isSuccess)) database = connect()
    if (request.selectionLeft > RetryDelay) scheduler.scheduleOnce(RetryDelay)(ask(request)): Unit
    else request.fail(firstLine(error))
  }

  private def reachable(within: FiniteDuration): Future[DB] = {
    if (database.value.exists(_.isFailure)) database = connect()
    if (database.isCompleted) database
    else {
      val late = after(within, scheduler)(Future.failed(new DatabaseUnavailable(s"no server within $selectionTimeout")))
      Future.firstCompletedOf(Seq(database, late))
    }
  }

  private def connect(): Future[DB] =
    connection.flatMap(_.database(settings.database, FailoverStrategy(selectionTimeout, retries = 0, _ => 1)))

  // `one` asks for a single batch of one document: one find, and no cursor that is left open. MongoDB gives up a find
  // that takes too long, and the turn is free again.
  private def find(database: DB, collection: String): Future[Option[BSONDocument]] = Future.delegate {
    database
      .collection[BSONCollection](collection, options.failoverStrategy)
      .find(BSONDocument.empty)
      .maxTimeMs(settings.dbTimeout.toMillis)
      .one[BSONDocument]
  }

  final private class Request(val collection: String) {
    private val promise      = Promise[Option[BSONDocument]]()
    private val selectionEnd = selectionTimeout.fromNow

    def result: Future[Option[BSONDocument]] = promise.future

    def isOver: Boolean = promise.isCompleted

    /** The time left to find a server. */
    def selectionLeft: FiniteDuration = selectionEnd.timeLeft.max(Duration.Zero)

    def answer(document: Option[BSONDocument]): Unit = promise.trySuccess(document): Unit

    def fail(why: String): Unit = promise.tryFailure(new DatabaseUnavailable(why)): Unit
  }
}

private object ReactiveStore {
  // TUNING.md, "Pool sizes".
  private val DefaultPoolSize         = 50
  private val DefaultSelectionTimeout = 2.seconds
  private val RetryDelay              = 50.millis

  private def firstLine(error: Throwable): String =
    Option(error.getMessage).flatMap(_.linesIterator.nextOption()).getOrElse(error.toString)

  private def parse(uri: ConnectionString): MongoConnection.ParsedURI = {
    // ReactiveMongo takes user and password as they are written, undecoded: they come from `uri` instead.
    val withoutCredential = uri.getConnectionString.replaceFirst("//[^/?@]*@", "//")
    try Await.result(MongoConnection.fromString(withoutCredential)(ExecutionContext.parasitic), 10.seconds)
    catch {
      case _: Exception =>
        throw new Settings.BadSetting("MONGODB_URI must be a MongoDB connection string that ReactiveMongo can parse")
    }
  }

  /** Fills in what the URI does not say in ReactiveMongo's own words.
    *
    * @param parsed
    *   what ReactiveMongo understood of `uri`
    */
  private def driverOptions(
      parsed: MongoConnectionOptions,
      uri: ConnectionString,
      settings: Settings
  ): MongoConnectionOptions = {
    val query = uri.getConnectionString.dropWhile(_ != '?').drop(1)
    val named = query.split('&').map(_.takeWhile(_ != '=')).toSet

    def unless(name: String)(change: MongoConnectionOptions => MongoConnectionOptions) =
      if (named(name)) identity[MongoConnectionOptions] _ else change

    val poolSize =
      Option(uri.getMaxConnectionPoolSize).map(_.intValue).orElse(settings.poolSize).getOrElse(DefaultPoolSize)
    Seq(
      unless("rm.nbChannelsPerNode")(_.copy(nbChannelsPerNode = poolSize)),
      // A find on a channel where another one hangs would hang behind it, though other channels are free.
      unless("rm.maxInFlightRequestsPerChannel")(_.copy(maxInFlightRequestsPerChannel = Some(1))),
      // Without it a small request waits until the one before is acknowledged.
      unless("rm.tcpNoDelay")(_.copy(tcpNoDelay = true)),
      // The driver itself does not try again: it would within a turn, which holds up those whose turn comes after.
      unless("rm.failover")(_.copy(failoverStrategy = FailoverStrategy(RetryDelay, retries = 0, _ => 1))),
      // How soon it sees that the database is back. Its default is 10 s.
      unless("heartbeatFrequencyMS")(_.copy(heartbeatFrequencyMS = 1000)),
      unless("connectTimeoutMS")(_.copy(connectTimeoutMS = 1000)),
      (options: MongoConnectionOptions) =>
        Option(uri.getSslEnabled).fold(options)(enabled => options.copy(sslEnabled = enabled)),
      (options: MongoConnectionOptions) => Option(uri.getCredential).fold(options)(withCredential(options, _))
    ).foldLeft(parsed)((options, change) => change(options))
  }

  private def withCredential(options: MongoConnectionOptions, credential: MongoCredential): MongoConnectionOptions = {
    val password = Option(credential.getPassword).map(new String(_))
    options.copy(
      authenticationDatabase = Some(credential.getSource),
      authenticationMechanism =
        if (credential.getAuthenticationMechanism == AuthenticationMechanism.SCRAM_SHA_256) ScramSha256Authentication
        else options.authenticationMechanism,
      credentials =
        Map(credential.getSource -> MongoConnectionOptions.Credential(credential.getUserName, password))
    )
  }
}
