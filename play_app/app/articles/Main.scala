package articles

import articles.Settings.BadSetting
import play.core.server.{ ProdServerStart, RealServerProcess, ServerListenException }
import sun.misc.Signal

/** Starts the staged application. (`sbt run` starts it without this, and reloads it on change.) */
object Main {
  private val Failed   = 1
  private val BadUsage = 2

  def main(arguments: Array[String]): Unit = {
    val settings =
      try Settings.read(sys.env)
      catch { case bad: BadSetting => fail(bad.getMessage, BadUsage) }
    sys.props ++= settings.forPlay
    // A JVM that a signal stops exits with 128 + its number; a stop that was asked for is no failure.
    Seq("TERM", "INT").foreach(name => Signal.handle(new Signal(name), _ => System.exit(0)))
    ProdServerStart.start(new OneLineProcess(arguments.toSeq, settings)): Unit
    System.err.println(s"database ${settings.database} on ${settings.mongodbUri.getHosts}")
  }

  /** A process that says in one line why it does not start. */
  final private class OneLineProcess(arguments: Seq[String], settings: Settings) extends RealServerProcess(arguments) {
    override def exit(message: String, cause: Option[Throwable], returnCode: Int): Nothing = cause match {
      case Some(bad: BadSetting)          => fail(bad.getMessage, BadUsage)
      case Some(_: ServerListenException) =>
        fail(
          s"cannot listen on ${settings.host}, port ${settings.port}: the port is taken, or the address is not of this machine",
          Failed
        )
      case Some(error) => fail(s"$message $error", Failed)
      case None        => fail(message, Failed)
    }
  }

  private def fail(line: String, status: Int): Nothing = {
    System.err.println(line)
    // Not System.exit: the shutdown of what has hardly started would have more to say.
    Runtime.getRuntime.halt(status)
    throw new IllegalStateException("halted")
  }
}
