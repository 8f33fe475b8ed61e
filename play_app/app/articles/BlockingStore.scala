package articles

import java.util.concurrent.{ Executors, TimeUnit, TimeoutException }

import scala.collection.concurrent.TrieMap
import scala.concurrent.duration._
import scala.concurrent.{ Await, ExecutionContext, Future, blocking }

import com.mongodb.client.{ MongoClient, MongoClients, MongoCollection }
import com.mongodb._
import org.bson.codecs.configuration.CodecRegistries.{ fromCodecs, fromRegistries }
import org.bson.codecs.{ BsonBinaryCodec, DecoderContext }
import org.bson.{ BsonBinary, BsonBinaryReader, BsonBinarySubType, BsonDocument, BsonReader }

/** Documents by the official driver, which blocks: in threads of its own, so that the threads that serve requests never
  * wait.
  */
final class BlockingStore(settings: Settings) extends DocumentStore[BsonDocument] {
  import BlockingStore._

  Settings
    .optionNames(settings.mongodbUri)
    .filterNot(name => Obeyed(name.toLowerCase))
    .foreach(Settings.refuse(_, "the driver"))

  // A place has a thread and a connection whenever it needs them.
  override val places: Int = Option(settings.mongodbUri.getMaxConnectionPoolSize)
    .fold(settings.poolSize.fold(settings.threads)(math.min(_, settings.threads)))(_.intValue)
  if (places == 0) Settings.refuse("maxPoolSize=0", "a thread for each connection")
  if (Option(settings.mongodbUri.getMinConnectionPoolSize).exists(_ > places))
    Settings.refuse(s"minPoolSize above $places", "a pool of that size")

  private val readPreference   = Option(settings.mongodbUri.getReadPreference).getOrElse(ReadPreference.primary)
  private val selectionTimeout = settings.selectionTimeout
  private val threads          = Executors.newFixedThreadPool(places)
  private val threadsContext   = ExecutionContext.fromExecutor(threads)

  // A new one would look for its codecs again.
  private val collections = TrieMap.empty[String, MongoCollection[BsonDocument]]

  @volatile private var client: Future[MongoClient] = connect()

  override def findOne(collection: String, waited: FiniteDuration): Future[Option[BsonDocument]] = Future {
    // Where no server is known, the time before counts as a part of the wait for one: thousands fail together.
    val most = if (isReachable) settings.dbTimeout else selectionTimeout
    if (waited >= most) throw new DatabaseUnavailable(s"no turn within $most")
    val end = (most - waited).fromNow
    try
      Option(
        collections
          .getOrElseUpdate(collection, open(collection, most - waited))
          .withTimeout(end.timeLeft.toMillis.max(1), TimeUnit.MILLISECONDS)
          .find()
          .limit(-1)
          .first()
      )
    catch {
      // What MongoDB says of the user is its cause.
      case error: MongoSecurityException if error.getCause != null => throw DatabaseUnavailable(error.getCause)
      case error: MongoException                                   => throw DatabaseUnavailable(error)
    }
  }(threadsContext)

  override def close(): Future[Unit] = {
    threads.shutdown()
    Future.successful(client.value.foreach(_.foreach(_.close())))
  }

  // With mongodb+srv it asks the name server, which may be away and come back.
  private def connect(): Future[MongoClient] =
    if (settings.mongodbUri.isSrvProtocol) Future(blocking(create()))(ExecutionContext.global)
    else Future.successful(create())

  private def create(): MongoClient = MongoClients.create(
    MongoClientSettings
      .builder()
      .applyToClusterSettings(_.serverSelectionTimeout(selectionTimeout.toMillis, TimeUnit.MILLISECONDS): Unit)
      .applyToSocketSettings(_.connectTimeout(1, TimeUnit.SECONDS): Unit)
      // Now and then the driver does not wake its monitor when a connection breaks, and then the next heartbeat is what
      // finds the server again: with the default of 10 s nothing was served for that long (one of 8 runs of `make faults`).
      .applyToServerSettings(_.heartbeatFrequency(1, TimeUnit.SECONDS): Unit)
      .applyToConnectionPoolSettings(_.maxSize(places): Unit)
      .codecRegistry(fromRegistries(fromCodecs(AnyBinary), MongoClientSettings.getDefaultCodecRegistry))
      // Last, so that what it says wins.
      .applyConnectionString(new ConnectionString(settings.mongodbUri.getConnectionString))
      .build()
  )

  private def open(collection: String, within: FiniteDuration): MongoCollection[BsonDocument] = {
    if (client.value.exists(_.isFailure)) synchronized(if (client.value.exists(_.isFailure)) client = connect())
    try Await.result(client, within).getDatabase(settings.database).getCollection(collection, classOf[BsonDocument])
    catch {
      case _: TimeoutException => throw new DatabaseUnavailable("the name server did not answer in time")
    }
  }

  private def isReachable: Boolean = client.value.flatMap(_.toOption).exists { client =>
    client.getClusterDescription.hasReadableServer(readPreference)
  }
}

private object BlockingStore {
  // What the driver does, or what has no meaning for a find of a document that is not decoded further.
  private val Obeyed =
    """appname authmechanism authmechanismproperties authsource compressors connecttimeoutms directconnection
       heartbeatfrequencyms journal loadbalanced localthresholdms maxconnecting maxidletimems maxlifetimems maxpoolsize
       maxstalenessseconds minpoolsize proxyhost proxypassword proxyport proxyusername readconcernlevel readpreference
       readpreferencetags replicaset retryreads retrywrites servermonitoringmode serverselectiontimeoutms
       sockettimeoutms srvmaxhosts srvservicename ssl timeoutms tls tlsallowinvalidhostnames uuidrepresentation w
       wtimeoutms zlibcompressionlevel""".split("\\s+").toSet

  // Of the old subtype MongoDB stores a second length that is wrong, on which the driver's own codec fails.
  private object AnyBinary extends BsonBinaryCodec {
    override def decode(reader: BsonReader, context: DecoderContext): BsonBinary = {
      val input   = reader.asInstanceOf[BsonBinaryReader].getBsonInput
      val start   = input.getMark(Int.MaxValue)
      val content = new Array[Byte](input.readInt32())
      val subtype = input.readByte()
      input.readBytes(content)
      start.reset()
      reader.skipValue()
      new BsonBinary(subtype, if (subtype == BsonBinarySubType.OLD_BINARY.getValue) content.drop(4) else content)
    }
  }
}
