package articles

import java.net.{ InetAddress, ServerSocket, Socket }

import scala.concurrent.duration._
import scala.concurrent.{ Await, ExecutionContext, Future, blocking }
import scala.util.Using

/** How the application starts and stops, and what it says without a database. Both forms side by side: they mostly
  * wait.
  */
final class ProcessSuite extends munit.FunSuite {
  import AppProcess.{ Loaders, running }

  implicit private val ec: ExecutionContext = ExecutionContext.global

  override val munitTimeout: FiniteDuration = 1.minute

  // Port 1 of this machine: connections are refused at once.
  private val noDatabase = "MONGODB_URI" -> "mongodb://127.0.0.1:1"

  private def secondsOf(work: => Unit): Double = {
    val started = System.nanoTime()
    work
    (System.nanoTime() - started) / 1e9
  }

  private def onEach(what: String)(body: String => Unit)(implicit location: munit.Location): Unit =
    test(what)(Future.traverse(Loaders)(loader => Future(blocking(body(loader)))))

  onEach(
    "no database is 503 after two seconds, for a hundred at once as for one; SIGTERM then answers what is under way"
  ) {
    loader =>
      running(loader, noDatabase, "THREADS" -> "4", "ACCESS_LOG" -> "1") { app =>
        check503(app)
        checkAccessLog(app)
        checkStop(app)
      }
  }

  private def check503(app: AppProcess): Unit = {
    val spent = secondsOf {
      val replies = Seq.fill(100)(Future(blocking(app.get("/mongo"))))
      replies.map(Await.result(_, 10.seconds)).foreach { reply =>
        assertEquals((reply.statusCode, reply.body), (503, """{"error":"database unavailable"}"""))
      }
    }
    // In turns of the four threads they would take 50 s. Three seconds are for a busy machine.
    assert(clue(spent) < 5)
    val lines = app.log.linesIterator.filterNot(_.contains(" access ")).toSeq
    // And the one that says which database it is.
    assertEquals(lines.length, 101, app.log)
    assert(!app.log.contains("\tat "))
  }

  private def checkAccessLog(app: AppProcess): Unit = {
    app.get("/sleep?ms=5"): Unit
    app.get("/none"): Unit
    val lines = app.log.linesIterator.toSeq.takeRight(2)
    assert(clue(lines(0)).contains("GET /sleep?ms=5 200"))
    assert(clue(lines(1)).contains("GET /none 404"))
  }

  private def checkStop(app: AppProcess): Unit = {
    val before = app.log.linesIterator.length
    val sleeps = Seq(2000, 1000).map(ms => Future(blocking(app.get(s"/sleep?ms=$ms"))))
    Using.resource(new Socket("127.0.0.1", app.port)) { idle =>
      idle.getOutputStream.write("GET /sleep?ms=300 HTTP/1.1\r\nHost: test\r\n\r\n".getBytes)
      assert(idle.getInputStream.read() == 'H')
      while (idle.getInputStream.available > 0) idle.getInputStream.read()
      // A supervisor tells every process of the group, and make passes its own on: twice is one stop.
      app.terminate()
      app.terminate()
      idle.setSoTimeout(1500)
      assertEquals(idle.getInputStream.read(), -1)
    }
    val replies = sleeps.map(Await.result(_, 10.seconds))
    assertEquals(replies.map(_.body), Seq("""{"slept_ms":2000}""", """{"slept_ms":1000}"""))
    assertEquals(replies.map(_.headers.firstValue("Connection").orElse("")), Seq("close", "close"))
    assertEquals(app.exitStatus(), 0)
    // The three requests, and not a word of the stop.
    assertEquals(app.log.linesIterator.length, before + 3, app.log)
  }

  onEach("a database that accepts and never answers is 503 in time") { loader =>
    Using.resource(new ServerSocket(0, 50, InetAddress.getLoopbackAddress)) { silent =>
      running(loader, "MONGODB_URI" -> s"mongodb://127.0.0.1:${silent.getLocalPort}", "DB_TIMEOUT_MS" -> "1000") { app =>
        assert(clue(secondsOf(assertEquals(app.get("/mongo").statusCode, 503))) < 5)
      }
    }
  }

  test("a taken port is one line") {
    Using.resource(new ServerSocket(0, 50, InetAddress.getByName("127.0.0.1"))) { taken =>
      val app = new AppProcess("BlockingLoader", noDatabase, "PORT" -> taken.getLocalPort.toString)
      assertEquals(app.exitStatus(), 1)
      assertEquals(
        app.log,
        s"cannot listen on 127.0.0.1, port ${taken.getLocalPort}: the port is taken, or the address is not of this machine\n"
      )
    }
  }

  // Before a loader is asked for.
  for ((name, value) <- Seq("THREADS" -> "0", "MONGODB_URI" -> "mongodb://u:pa:ss@h", "APPLICATION_SECRET" -> "short"))
    test(s"a bad $name is one line and exit status 2") {
      val app = new AppProcess("ReactiveLoader", name -> value)
      assertEquals(app.exitStatus(), 2)
      assert(clue(app.log).startsWith(s"$name must be "))
      assertEquals(app.log.linesIterator.length, 1)
    }
}
