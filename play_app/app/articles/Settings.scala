package articles

import java.security.SecureRandom
import java.util.{ Base64, Collections }

import scala.concurrent.duration._
import scala.jdk.CollectionConverters._
import scala.util.Try
import scala.util.control.NoStackTrace

import com.mongodb.ConnectionString

/** What the environment says, checked.
  *
  * @param poolSize
  *   connections to MongoDB, where MONGODB_MAX_POOL_SIZE names them; each store has its own default
  * @param webConcurrency
  *   threads of Play's default dispatcher, and of Netty's event loop
  * @param threads
  *   threads that the blocking driver may block
  * @param dbTimeout
  *   the longest that one request waits for a connection and for the operation
  */
final case class Settings(
    host: String,
    port: Int,
    mongodbUri: ConnectionString,
    database: String,
    poolSize: Option[Int],
    webConcurrency: Int,
    threads: Int,
    dbTimeout: FiniteDuration,
    accessLog: Boolean,
    secret: String
) {

  /** How long a request waits for a server that can be asked. */
  def selectionTimeout: FiniteDuration = Option(mongodbUri.getServerSelectionTimeout).fold(2.seconds)(_.intValue.millis)

  /** The settings that Play reads for itself, by the names that its configuration gives them. */
  def forPlay: Map[String, String] = {
    val dispatcher = "pekko.actor.default-dispatcher.fork-join-executor"
    // The longest that a request may be under way: a find, or /sleep?ms=10000.
    val longest = dbTimeout.max(10.seconds)
    Map(
      "play.server.provider"               -> classOf[DrainingServerProvider].getName,
      "play.server.http.address"           -> host,
      "play.server.http.port"              -> port.toString,
      "play.server.netty.eventLoopThreads" -> webConcurrency.toString,
      "play.http.secret.key"               -> secret,
      s"$dispatcher.parallelism-min"       -> webConcurrency.toString,
      s"$dispatcher.parallelism-max"       -> webConcurrency.toString,
      // ReactiveMongo has an actor system of its own.
      s"mongo-async-driver.$dispatcher.parallelism-min" -> webConcurrency.toString,
      s"mongo-async-driver.$dispatcher.parallelism-max" -> webConcurrency.toString,
      // Longer than the 60 s after which most proxies and clients close an idle connection, so that it is rarely the
      // server that closes one on which a request is under way; and never while a request waits.
      "play.server.http.idleTimeout" -> s"${longest.max(70.seconds).toMillis + 5000} ms",
      // In this phase a server that stops answers what it has accepted.
      "pekko.coordinated-shutdown.phases.service-unbind.timeout" -> s"${longest.toMillis + 2000} ms"
    )
  }
}

object Settings {
  // In bytes, as MongoDB has it.
  private val LongestDatabaseName = 63

  /** A setting that stops the start. The message is one line that names the variable and never holds a password. */
  final class BadSetting(message: String) extends RuntimeException(message) with NoStackTrace

  /** Reads the settings from `environment`. An empty value counts as not set.
    *
    * Throws BadSetting for a value that is not one.
    */
  def read(environment: Map[String, String]): Settings = {
    val variables = environment.filter { case (_, value) => value.nonEmpty }

    def whole(name: String, least: Int, most: Int): Option[Int] = variables.get(name).map { text =>
      text.toIntOption.filter(number => text.matches("[0-9]+") && number >= least && number <= most).getOrElse {
        val range = if (most == Int.MaxValue) s"an integer of $least or more" else s"an integer from $least to $most"
        throw new BadSetting(s"$name must be $range, not '$text'")
      }
    }

    // Servers with a process for each core have it; here it is only refused where it is not a number, as everywhere.
    whole("WORKER_CONNECTIONS", 1, Int.MaxValue): Unit

    val host = variables.getOrElse("HOST", "127.0.0.1")
    val uri  = mongodbUri(variables.getOrElse("MONGODB_URI", "mongodb://127.0.0.1:27017"))
    // Of one find and its reply, which is all that waits, they say the same.
    val timeouts = whole("DB_TIMEOUT_MS", 1, 600000).map(_.toLong).toSeq ++
      Option(uri.getTimeout).map(_.longValue) ++ Option(uri.getSocketTimeout).map(_.longValue)
    Settings(
      host = host,
      port = whole("PORT", 1, 65535).getOrElse(5000),
      mongodbUri = uri,
      database = database(variables.get("MONGODB_DATABASE").orElse(Option(uri.getDatabase)).getOrElse("articles")),
      poolSize = whole("MONGODB_MAX_POOL_SIZE", 1, Int.MaxValue),
      // The JVM counts the processors that affinity and cgroup leave to it.
      webConcurrency = whole("WEB_CONCURRENCY", 1, Int.MaxValue).getOrElse(Runtime.getRuntime.availableProcessors),
      threads = whole("THREADS", 1, Int.MaxValue).getOrElse(100),
      dbTimeout = timeouts.filter(_ > 0).minOption.getOrElse(10000L).millis,
      accessLog = whole("ACCESS_LOG", 0, 1).contains(1),
      secret = secret(variables.get("APPLICATION_SECRET"), host)
    )
  }

  private def mongodbUri(uri: String): ConnectionString = {
    // The form alone. What the name server says of mongodb+srv is asked when it is needed.
    val parsed = Try(new ConnectionString(uri, (_, _) => Collections.emptyList[String])).getOrElse {
      // The driver's own message may quote a part of the password.
      throw new BadSetting("MONGODB_URI must be a MongoDB connection string that the driver can parse")
    }
    // The others unpack a native library to a folder that may forbid it.
    if (parsed.getCompressorList.asScala.exists(_.getName != "zlib"))
      refuse("compressors other than zlib", "this server")
    parsed
  }

  /** The names of the options of `uri`, as they are written. */
  def optionNames(uri: ConnectionString): Seq[String] =
    uri.getConnectionString.dropWhile(_ != '?').split("[?&;]").toSeq.map(_.takeWhile(_ != '=')).filter(_.nonEmpty)

  /** Stops the start, because `driver` would ignore `option` of the URI: worse than not to have it. */
  def refuse(option: String, driver: String): Nothing =
    throw new BadSetting(s"MONGODB_URI must not have $option: $driver does not obey it")

  private def database(name: String): String =
    if (name.matches("[^/\\\\. \"$\u0000]+") && name.getBytes.length <= LongestDatabaseName) name
    else
      throw new BadSetting(s"MONGODB_DATABASE, or the path of MONGODB_URI, must be a valid database name, not '$name'")

  // Play signs sessions and flash messages with it. This application has neither, but a copy of it may.
  private def secret(named: Option[String], host: String): String = named match {
    case Some(secret) if secret.getBytes.length >= 32 => secret
    case Some(_)                  => throw new BadSetting("APPLICATION_SECRET must be 32 bytes or longer")
    case None if isLoopback(host) => generatedSecret()
    case None                     =>
      throw new BadSetting(
        "APPLICATION_SECRET must be set where HOST is not a loopback address: 32 bytes or more, as `openssl rand -base64 32` prints"
      )
  }

  private def isLoopback(host: String) =
    host == "localhost" || host == "::1" || host == "[::1]" || host.matches("127(\\.[0-9]{1,3}){3}")

  private def generatedSecret(): String = {
    val bytes = new Array[Byte](32)
    new SecureRandom().nextBytes(bytes)
    Base64.getEncoder.encodeToString(bytes)
  }
}
