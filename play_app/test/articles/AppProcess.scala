package articles

import java.io.File
import java.net.{ ConnectException, ServerSocket, URI }
import java.net.http.HttpResponse.BodyHandlers
import java.net.http.{ HttpClient, HttpRequest, HttpResponse }
import java.nio.file.Files
import java.util.concurrent.TimeUnit

import scala.util.Using

/** The application in a process of its own, as in production, with the settings of `environment` and no others. */
final class AppProcess(loader: String, environment: (String, String)*) {
  import AppProcess._

  val port: Int = environment.toMap.get("PORT").fold(freePort())(_.toInt)

  private val output  = Files.createTempFile("play-app", ".log")
  private val process = start()

  private def start(): Process = {
    val java    = new File(sys.props("java.home"), "bin/java").getPath
    val command = Seq(java) ++ ShortLived ++
      Seq(s"-Dplay.application.loader=articles.$loader", "-cp", sys.props("java.class.path"), "articles.Main")
    val builder = new ProcessBuilder(command: _*)
    builder.environment.clear()
    builder.environment.put("PORT", port.toString)
    environment.foreach { case (name, value) => builder.environment.put(name, value) }
    builder.redirectErrorStream(true).redirectOutput(output.toFile).start()
  }

  /** What it has written so far. */
  def log: String = Files.readString(output)

  /** Waits until it answers. */
  def ready(): this.type = {
    val deadline = System.nanoTime() + 30e9.toLong
    while (!answers()) {
      assert(process.isAlive && System.nanoTime() < deadline, log)
      Thread.sleep(20)
    }
    this
  }

  def get(target: String): HttpResponse[String] =
    client.send(HttpRequest.newBuilder(URI.create(s"http://127.0.0.1:$port$target")).build(), BodyHandlers.ofString())

  /** Sends SIGTERM. */
  def terminate(): Unit = process.destroy()

  /** Waits for its end and returns its exit status. */
  def exitStatus(): Int = {
    val ended = process.waitFor(15, TimeUnit.SECONDS)
    if (!ended) process.destroyForcibly()
    assert(ended, s"still running\n$log")
    process.exitValue
  }

  /** Ends it, if it still runs. */
  def end(): Unit = {
    terminate()
    exitStatus(): Unit
  }

  private def answers(): Boolean =
    try get("/sleep?ms=0").statusCode == 200
    catch { case _: ConnectException => false }
}

object AppProcess {
  val Loaders: Seq[String] = Seq("ReactiveLoader", "BlockingLoader")

  // A process that lives for seconds never earns back what the second compiler and a parallel collector cost.
  private val ShortLived = Seq("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Xmx512m")

  private val client = HttpClient.newHttpClient()

  def freePort(): Int = Using.resource(new ServerSocket(0))(_.getLocalPort)

  /** Lends a running application and ends it, whatever `test` does. */
  def running[T](loader: String, environment: (String, String)*)(test: AppProcess => T): T = {
    val app = new AppProcess(loader, environment: _*)
    try test(app.ready())
    finally app.end()
  }
}
