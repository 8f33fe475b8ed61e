package articles

import java.util.concurrent.{ Executors, TimeUnit }
import java.util.concurrent.atomic.AtomicInteger

import scala.concurrent.{ ExecutionContext, Future }

import com.mongodb.client.MongoClients
import com.mongodb.{ ConnectionString, MongoClientSettings, MongoException }
import org.bson.BsonDocument

/** Documents by the official driver, which blocks: in threads of its own, so that the threads that serve requests never
  * wait.
  *
  * A thread has a connection whenever it needs one, so requests wait in one place only, the queue of the threads, in
  * the order in which they came.
  */
final class BlockingStore(settings: Settings) extends DocumentStore[BsonDocument] {
  private val uri = new ConnectionString(settings.mongodbUri)

  private val clientSettings = MongoClientSettings
    .builder()
    .applyToClusterSettings(_.serverSelectionTimeout(2, TimeUnit.SECONDS): Unit)
    .applyToSocketSettings(_.connectTimeout(1, TimeUnit.SECONDS): Unit)
    // Now and then the driver does not wake its monitor when a connection breaks, and then the next heartbeat is what
    // finds the server again: with the default of 10 s nothing was served for that long (one of 8 runs of `make faults`).
    .applyToServerSettings(_.heartbeatFrequency(1, TimeUnit.SECONDS): Unit)
    .applyToConnectionPoolSettings(_.maxSize(settings.poolSize.getOrElse(settings.threads)): Unit)
    // Last, so that what it says wins.
    .applyConnectionString(uri)
    .build()

  private val client             = MongoClients.create(clientSettings)
  private val database           = client.getDatabase(settings.database)
  private val selectionTimeoutMs = clientSettings.getClusterSettings.getServerSelectionTimeout(TimeUnit.MILLISECONDS)
  private val threads            = Executors.newFixedThreadPool(settings.threads, BlockingStore.namedThread(_))
  private val blocking           = ExecutionContext.fromExecutor(threads)

  override def findOne(collection: String): Future[Option[BsonDocument]] = {
    val arrived = System.nanoTime()
    Future {
      val waitedMs = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - arrived)
      // Where no server is known, the time in the queue counts as a part of the wait for one: thousands fail together.
      val mostMs = if (isReachable) settings.dbTimeout.toMillis else selectionTimeoutMs
      if (waitedMs >= mostMs) throw new DatabaseUnavailable(s"no thread free within $mostMs ms")
      try
        Option(
          database
            .getCollection(collection, classOf[BsonDocument])
            .withTimeout(mostMs - waitedMs, TimeUnit.MILLISECONDS)
            .find()
            .limit(-1)
            .first()
        )
      catch {
        case error: MongoException => throw new DatabaseUnavailable(BlockingStore.firstLine(error))
      }
    }(blocking)
  }

  override def close(): Future[Unit] = {
    threads.shutdown()
    Future.successful(client.close())
  }

  private def isReachable: Boolean =
    client.getClusterDescription.hasReadableServer(clientSettings.getReadPreference)
}

private object BlockingStore {
  private val count = new AtomicInteger

  private def namedThread(task: Runnable): Thread = {
    val thread = new Thread(task, s"mongodb-${count.incrementAndGet()}")
    thread.setDaemon(true)
    thread
  }

  private def firstLine(error: MongoException): String =
    error.getMessage.linesIterator.nextOption().getOrElse(error.toString)
}
