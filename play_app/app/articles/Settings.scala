package articles

import java.security.SecureRandom
import java.util.Base64

import scala.concurrent.duration._
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
    mongodbUri: String,
    database: String,
    poolSize: Option[Int],
    webConcurrency: Int,
    threads: Int,
    dbTimeout: FiniteDuration,
    accessLog: Boolean,
    secret: String
) {

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
      Option(text)
        .filter(_.matches("[0-9]{1,10}"))
        .map(_.toLong)
        .filter(number => number >= least && number <= most)
        .getOrElse {
          val range = if (most == Int.MaxValue) s"an integer of $least or more" else s"an integer from $least to $most"
          throw new BadSetting(s"$name must be $range, not '$text'")
        }
        .toInt
    }

    // Servers with a process for each core have it; here it is only refused where it is not a number, as everywhere.
    whole("WORKER_CONNECTIONS", 1, Int.MaxValue): Unit

    val host = variables.getOrElse("HOST", "127.0.0.1")
    Settings(
      host = host,
      port = whole("PORT", 1, 65535).getOrElse(5000),
      mongodbUri = mongodbUri(variables.getOrElse("MONGODB_URI", "mongodb://127.0.0.1:27017")),
      database = database(variables.getOrElse("MONGODB_DATABASE", "articles")),
      poolSize = whole("MONGODB_MAX_POOL_SIZE", 1, Int.MaxValue),
      // The JVM counts the processors that affinity and cgroup leave to it.
      webConcurrency = whole("WEB_CONCURRENCY", 1, Int.MaxValue).getOrElse(Runtime.getRuntime.availableProcessors),
      threads = whole("THREADS", 1, Int.MaxValue).getOrElse(100),
      dbTimeout = whole("DB_TIMEOUT_MS", 1, 600000).getOrElse(10000).millis,
      accessLog = whole("ACCESS_LOG", 0, 1).contains(1),
      secret = secret(variables.get("APPLICATION_SECRET"), host)
    )
  }

  private def mongodbUri(uri: String): String =
    try {
      new ConnectionString(uri)
      uri
    } catch {
      // The driver's own message may quote a part of the password.
      case _: RuntimeException =>
        throw new BadSetting("MONGODB_URI must be a MongoDB connection string that the driver can parse")
    }

  private def database(name: String): String =
    if (name.matches("[^/\\\\. \"$\u0000]+") && name.getBytes.length <= LongestDatabaseName) name
    else throw new BadSetting(s"MONGODB_DATABASE must be a valid database name, not '$name'")

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
