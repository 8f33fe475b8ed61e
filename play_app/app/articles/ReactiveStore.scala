package articles

import scala.concurrent.duration._
import scala.concurrent.{ Await, ExecutionContext, Future, blocking }
import scala.util.Try

import com.mongodb.{ AuthenticationMechanism, ConnectionString }
import org.apache.pekko.actor.Scheduler
import org.apache.pekko.pattern.after
import reactivemongo.api._
import reactivemongo.api.bson.BSONDocument
import reactivemongo.api.bson.collection.BSONCollection
import reactivemongo.core.actors.Exceptions.ChannelNotFoundException
import reactivemongo.core.errors.DatabaseException

/** Documents by ReactiveMongo: no thread waits for the database. */
final class ReactiveStore(settings: Settings, scheduler: Scheduler)(implicit ec: ExecutionContext)
    extends DocumentStore[BSONDocument] {
  import ReactiveStore._

  private val uri        = settings.mongodbUri
  private val mechanisms = mechanismsOf(uri)
  // What the name server says of mongodb+srv is asked later: it may be away, and come back.
  private val atStart      = understood(settings, lookUp = false)
  override val places: Int = atStart._2.nbChannelsPerNode

  // Below that the driver's own actor may be too slow to say that there is a server.
  private val selectionTimeout = settings.selectionTimeout.max(100.millis)
  private val selection        = FailoverStrategy(selectionTimeout, retries = 0, _ => 1)

  @volatile private var driver: AsyncDriver                 = AsyncDriver()
  @volatile private var connectAgain                        = Deadline.now
  @volatile private var connection: Future[MongoConnection] = connect(mechanisms)
  // Known, or being waited for, which is what other drivers call server selection.
  @volatile private var database: Future[DB] = select()

  override def findOne(collection: String, waited: FiniteDuration): Future[Option[BSONDocument]] =
    find(collection, (selectionTimeout.min(settings.dbTimeout) - waited).fromNow, (settings.dbTimeout - waited).fromNow)

  override def close(): Future[Unit] = driver.close()

  private def find(collection: String, selectionEnd: Deadline, end: Deadline): Future[Option[BSONDocument]] =
    reachable(selectionEnd.timeLeft.max(Duration.Zero)).flatMap(find(_, collection))(parasitic).recoverWith {
      case error: DatabaseUnavailable => Future.failed(error)
      case error: DatabaseException   =>
        // The driver forgets a user whom MongoDB has refused once, and goes on as nobody.
        if (error.code.contains(Unauthorized)) connectOnce()
        Future.failed(DatabaseUnavailable(error))
      // While the driver connects there are fewer channels than turns, and none is free.
      case busy: ChannelNotFoundException if busy.retriable && end.hasTimeLeft() =>
        after(RetryDelay, scheduler)(find(collection, selectionEnd, end))
      // The driver has lost its connections, or has none for a moment, as while it authenticates new ones. A find may be
      // repeated, as other drivers do it.
      case _ if selectionEnd.timeLeft > RetryDelay =>
        if (database.value.exists(_.isSuccess)) database = select()
        after(RetryDelay, scheduler)(find(collection, selectionEnd, end))
      case error => Future.failed(DatabaseUnavailable(error))
    }(parasitic)

  private def reachable(within: FiniteDuration): Future[DB] = {
    if (connection.value.exists(_.isFailure)) connectOnce()
    if (database.value.exists(_.isFailure)) database = select()
    if (database.isCompleted) database
    else {
      val late = after(within, scheduler)(Future.failed(new DatabaseUnavailable(s"no server within $selectionTimeout")))
      Future.firstCompletedOf(Seq(database, late))
    }
  }

  private def connectOnce(): Unit = synchronized {
    if (connection.isCompleted && connectAgain.isOverdue()) {
      connection = connect(mechanisms)
      database = select()
    }
  }

  /** Fails where the driver's own actor is too slow, as on little CPU, and where MongoDB refuses the user. */
  private def connect(mechanisms: Seq[AuthenticationMode]): Future[MongoConnection] = {
    driver.close(): Unit
    val current = AsyncDriver()
    driver = current
    connectAgain = ConnectPause.fromNow
    val connected = for {
      (nodes, options) <-
        if (uri.isSrvProtocol) Future(blocking(understood(settings, lookUp = true)))
        else Future.successful(atStart)
      connection <- current.connect(nodes, options.copy(authenticationMechanism = mechanisms.head))
      _          <- Option(uri.getCredential).fold(Future.unit) { user =>
        val source = options.authenticationDatabase.getOrElse(user.getSource)
        connection.authenticate(source, user.getUserName, new String(user.getPassword), selection).map(_ => ())
      }
    } yield connection
    val late = after(ConnectTimeout, scheduler)(Future.failed(new DatabaseUnavailable("the driver does not connect")))
    Future.firstCompletedOf(Seq(connected, late)).recoverWith {
      // A user may have the older mechanism only, or the newer one.
      case _: DatabaseException if mechanisms.tail.nonEmpty => connect(mechanisms.tail)
    }
  }

  private def select(): Future[DB] = connection.flatMap(_.database(settings.database, selection)).map { database =>
    val asked = uri.getRequiredReplicaSetName
    if (asked != null && !SetName.of(database).contains(asked))
      throw new DatabaseUnavailable(s"not a member of the replica set $asked")
    database
  }

  // `one` asks for a single batch of one document: one find, and no cursor that is left open. MongoDB gives up a find
  // that takes too long, and the turn is free again.
  private def find(database: DB, collection: String): Future[Option[BSONDocument]] = Future.delegate {
    database
      .collection[BSONCollection](collection, atStart._2.failoverStrategy)
      .find(BSONDocument.empty)
      .maxTimeMs(settings.dbTimeout.toMillis)
      .one[BSONDocument]
  }(parasitic)
}

private object ReactiveStore {
  private val parasitic = ExecutionContext.parasitic
  // TUNING.md, "Pool sizes".
  private val DefaultPoolSize = 50
  private val RetryDelay      = 50.millis
  private val ConnectPause    = 1.second
  private val ConnectTimeout  = 15.seconds
  private val Unauthorized    = 13

  // ReactiveMongo does not know them and this file sees to them, or they have no meaning for a find.
  private val Obeyed =
    """authmechanism directconnection maxpoolsize retryreads serverselectiontimeoutms sockettimeoutms
       timeoutms tls uuidrepresentation wtimeoutms""".split("\\s+").toSet

  private def mechanismsOf(uri: ConnectionString): Seq[AuthenticationMode] =
    Option(uri.getCredential).map(_.getAuthenticationMechanism) match {
      case None                                        => Seq(ScramSha1Authentication)
      case Some(null)                                  => Seq(ScramSha256Authentication, ScramSha1Authentication)
      case Some(AuthenticationMechanism.SCRAM_SHA_256) => Seq(ScramSha256Authentication)
      case Some(AuthenticationMechanism.SCRAM_SHA_1)   => Seq(ScramSha1Authentication)
      case Some(other)                                 => Settings.refuse(s"authMechanism=$other", "ReactiveMongo")
    }

  /** What ReactiveMongo makes of the URI. Asks the name server, where `lookUp`. Throws BadSetting for what it ignores.
    */
  private def understood(settings: Settings, lookUp: Boolean): (Seq[String], MongoConnectionOptions) = {
    val uri = settings.mongodbUri
    // ReactiveMongo takes user and password as they are written, undecoded: they come from `uri` instead.
    val plain  = uri.getConnectionString.replaceFirst("//[^/?@]*@", "//")
    val asked  = if (lookUp) plain else plain.replaceFirst("^mongodb\\+srv", "mongodb")
    val parsed = Try(Await.result(MongoConnection.fromString(asked)(parasitic), 15.seconds)).getOrElse {
      throw new Settings.BadSetting("MONGODB_URI must be a MongoDB connection string that ReactiveMongo can parse")
    }
    parsed.ignoredOptions.filterNot(name => Obeyed(name.toLowerCase)).foreach(Settings.refuse(_, "ReactiveMongo"))
    if (uri.getApplicationName != null) Settings.refuse("appName", "ReactiveMongo")
    if (uri.isDirectConnection == java.lang.Boolean.TRUE) Settings.refuse("directConnection=true", "ReactiveMongo")
    if (uri.getRetryReads == java.lang.Boolean.FALSE) Settings.refuse("retryReads=false", "ReactiveMongo")
    val options = driverOptions(parsed.options, uri, settings)
    if (options.nbChannelsPerNode < 1) Settings.refuse("a pool of 0", "ReactiveMongo")
    (parsed.hosts.map { case (host, port) => s"$host:$port" }.toSeq, options)
  }

  /** Fills in what the URI does not say in ReactiveMongo's own words. `parsed` is what ReactiveMongo understood. */
  private def driverOptions(parsed: MongoConnectionOptions, uri: ConnectionString, settings: Settings) = {
    val named = Settings.optionNames(uri).toSet

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
        Option(uri.getSslEnabled).fold(options)(enabled => options.copy(sslEnabled = enabled))
    ).foldLeft(parsed)((options, change) => change(options))
  }
}
