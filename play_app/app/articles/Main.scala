package articles

import play.core.server.{ ProdServerStart, RealServerProcess }
import sun.misc.Signal

/** Starts the staged application. (`sbt run` starts it without this, and reloads it on change.) */
object Main {
  private val BadUsage = 2

  def main(arguments: Array[String]): Unit = {
    val process = new OneLineProcess(arguments.toSeq)
    try sys.props ++= Settings.read(sys.env).forPlay
    catch { case bad: Settings.BadSetting => process.exit(bad.getMessage, returnCode = BadUsage) }
    // A JVM that a signal stops exits with 128 + its number; a stop that was asked for is no failure.
    Seq("TERM", "INT").foreach(name => Signal.handle(new Signal(name), _ => System.exit(0)))
    ProdServerStart.start(process): Unit
  }

  /** Says in one line why it does not start. */
  private final class OneLineProcess(arguments: Seq[String]) extends RealServerProcess(arguments) {
    override def exit(message: String, cause: Option[Throwable], returnCode: Int): Nothing = {
      val (line, status) = cause match {
        case Some(bad: Settings.BadSetting) => (bad.getMessage, BadUsage)
        case Some(error)                    => (s"$message ${error.getMessage}", 1)
        case None                           => (message, returnCode)
      }
      System.err.println(line)
      Runtime.getRuntime.halt(status)
      throw new IllegalStateException("halted")
    }
  }
}
