package articles

import scala.concurrent.duration._
import scala.concurrent.{ Await, ExecutionContext, Future, Promise }
import scala.util.{ Failure, Success }

import com.mongodb.ConnectionString
import org.apache.pekko.actor.Scheduler
import reactivemongo.api.bson.BSONDocument
import reactivemongo.api.bson.collection.BSONCollection
import reactivemongo.api.{ AsyncDriver, DB, FailoverStrategy, MongoConnection, MongoConnectionOptions }
import reactivemongo.core.errors.DatabaseException

/** Documents by ReactiveMongo: no thread waits for the database. */
final class ReactiveStore(settings: Settings, scheduler: Scheduler)(implicit ec: ExecutionContext)
    extends DocumentStore[BSONDocument] {

  private val uri        = ReactiveStore.parse(settings.mongodbUri)
  private val options    = ReactiveStore.withDefaults(uri.options, settings)
  private val driver     = AsyncDriver()
  private val connection = driver.connect(uri.hosts.map { case (host, port) => s"$host:$port" }.toSeq, options)
  private val turns      = new Turns(options.nbChannelsPerNode)

  // Waiting for it is what other drivers call server selection. It is asked for anew when the database has gone.
  @volatile private var database: Future[DB] = connect()

  override def findOne(collection: String): Future[Option[BSONDocument]] = {
    val result = Promise[Option[BSONDocument]]()
    val timer  = scheduler.scheduleOnce(settings.dbTimeout) {
      result.tryFailure(new DatabaseUnavailable(s"no answer within ${settings.dbTimeout}")): Unit
    }
    reachable().onComplete {
      case Success(database) =>
        turns.take { () =>
          if (result.isCompleted) turns.giveBack()
          else
            database.collection[BSONCollection](collection).find(BSONDocument.empty).one[BSONDocument].onComplete {
              found =>
                turns.giveBack()
                result.tryComplete(found.recoverWith { case error => Failure(unavailable(error)) })
            }
        }
      case Failure(error) => result.tryFailure(unavailable(error))
    }
    result.future.onComplete(_ => timer.cancel())
    result.future
  }

  override def close(): Future[Unit] = driver.close()

  private def connect(): Future[DB] =
    connection.flatMap(_.database(settings.database, options.failoverStrategy))

  private def reachable(): Future[DB] = {
    if (database.value.exists(_.isFailure)) database = connect()
    database
  }

  private def unavailable(error: Throwable): DatabaseUnavailable = {
    error match {
      case _: DatabaseException => // It answered, with an error.
      case _                    => if (database.value.exists(_.isSuccess)) database = connect()
    }
    new DatabaseUnavailable(error.getMessage.linesIterator.nextOption().getOrElse(error.toString))
  }
}

private object ReactiveStore {

  private def parse(uri: String): MongoConnection.ParsedURI =
    try Await.result(MongoConnection.fromString(uri)(ExecutionContext.parasitic), 10.seconds)
    catch {
      case _: Exception =>
        throw new Settings.BadSetting("MONGODB_URI must be a MongoDB connection string that ReactiveMongo can parse")
    }

  /** Fills in what the URI does not say. ReactiveMongo has names of its own for some options that every driver knows.
    */
  private def withDefaults(parsed: MongoConnectionOptions, settings: Settings): MongoConnectionOptions = {
    val standard = new ConnectionString(settings.mongodbUri)
    val query    = settings.mongodbUri.dropWhile(_ != '?').drop(1)
    val named    = query.split('&').map(_.takeWhile(_ != '=')).toSet

    def unless(name: String)(change: MongoConnectionOptions => MongoConnectionOptions) =
      if (named(name)) identity[MongoConnectionOptions] _ else change

    val poolSize  = Option(standard.getMaxConnectionPoolSize).map(_.intValue).orElse(settings.poolSize).getOrElse(20)
    val selection = Option(standard.getServerSelectionTimeout).fold(2000)(_.intValue).millis
    Seq(
      unless("rm.nbChannelsPerNode")(_.copy(nbChannelsPerNode = poolSize)),
      // Who waits for a channel waits in Turns. A channel may carry them all, for one more would be an error: while the
      // driver connects it has fewer channels than that.
      unless("rm.maxInFlightRequestsPerChannel")(_.copy(maxInFlightRequestsPerChannel = Some(poolSize))),
      // Without it small requests wait for the acknowledgement of the one before.
      unless("rm.tcpNoDelay")(_.copy(tcpNoDelay = true)),
      // The first wait is the whole of it: to be told at once is better than to hold a turn through retries.
      unless("rm.failover")(_.copy(failoverStrategy = FailoverStrategy(selection, 0, _ => 1))),
      // How soon it sees that the database is back. Its default is 10 s.
      unless("heartbeatFrequencyMS")(_.copy(heartbeatFrequencyMS = 1000)),
      unless("connectTimeoutMS")(_.copy(connectTimeoutMS = 1000)),
      (options: MongoConnectionOptions) =>
        Option(standard.getSslEnabled).fold(options)(enabled => options.copy(sslEnabled = enabled))
    ).foldLeft(parsed)((options, change) => change(options))
  }
}
