package articles

import java.net.{ Socket, URI }
import java.net.http.HttpRequest.BodyPublishers
import java.net.http.HttpResponse.BodyHandlers
import java.net.http.{ HttpClient, HttpRequest, HttpResponse }
import java.nio.charset.StandardCharsets.UTF_8

import scala.concurrent.Future
import scala.concurrent.duration._
import scala.jdk.CollectionConverters._
import scala.jdk.OptionConverters._
import scala.util.Using

import org.bson.{ BsonDocument, BsonInt32, BsonString }
import play.api.ApplicationLoader.Context
import play.api.{ Environment, Mode }
import play.core.server.{ Server, ServerConfig }

/** The whole server but the database: a store that holds what the test puts into it. */
final class ServerSuite extends munit.FunSuite {

  private object Store extends DocumentStore[BsonDocument] {
    @volatile var next: Future[Option[BsonDocument]] = Future.successful(None)

    override val places                                                                            = 1000
    override def findOne(collection: String, waited: FiniteDuration): Future[Option[BsonDocument]] = next
    override def close(): Future[Unit]                                                             = Future.unit
  }

  private var server: Server = _
  private val client         = HttpClient.newHttpClient()

  override def beforeAll(): Unit = {
    val environment = Environment.simple(mode = Mode.Prod)
    sys.props ++= Settings.read(Map.empty).forPlay
    val components = new ArticlesComponents(Context.create(environment)) {
      override val router = served(Store)
    }
    val config = ServerConfig(address = "127.0.0.1", port = Some(0))
    server = new DrainingServerProvider().createServer(config, components.application)
  }

  override def afterAll(): Unit = server.stop()

  private def ask(method: String, target: String, body: String = ""): HttpResponse[String] = {
    val uri = URI.create(s"http://127.0.0.1:${server.mainAddress.getPort}$target")
    client.send(
      HttpRequest.newBuilder(uri).method(method, BodyPublishers.ofString(body)).build(),
      BodyHandlers.ofString()
    )
  }

  private def get(target: String) = ask("GET", target)

  private def header(response: HttpResponse[_], name: String): Option[String] =
    response.headers.firstValue(name).toScala

  private def check(response: HttpResponse[String], status: Int, body: String)(implicit
      location: munit.Location
  ): Unit = {
    assertEquals((response.statusCode, response.body), (status, body))
    assertEquals(response.headers.allValues("Content-Type").asScala.toSeq, Seq("application/json"))
    assertEquals(header(response, "Content-Length"), Some(body.getBytes("UTF-8").length.toString))
    assertEquals(header(response, "Server"), None)
    assert(header(response, "Date").isDefined)
  }

  for (target <- Seq("/mongo", "/mongo_big", "/mongo?any=thing")) test(s"$target is the document") {
    Store.next = Future.successful(Some(new BsonDocument("größe", new BsonInt32(1))))
    check(get(target), 200, """{"größe":1}""")
  }

  test("HEAD is GET without its body") {
    Store.next = Future.successful(Some(new BsonDocument("a", new BsonInt32(1))))
    for (target <- Seq("/mongo", "/mongo_big", "/sleep?ms=0", "/sleep?ms=x", "/none")) {
      val (full, head) = (get(target), ask("HEAD", target))
      assertEquals((head.statusCode, head.body), (full.statusCode, ""))
      for (name <- Seq("Content-Type", "Content-Length")) assertEquals(header(head, name), header(full, name))
    }
  }

  test("no document") {
    Store.next = Future.successful(None)
    check(get("/mongo"), 404, """{"error":"no document"}""")
  }

  test("no database") {
    Store.next = Future.failed(new DatabaseUnavailable("as this test wants it"))
    val response = get("/mongo")
    check(response, 503, """{"error":"database unavailable"}""")
    assertEquals(header(response, "Retry-After"), Some("1"))
  }

  test("a bug") {
    Store.next = Future.failed(new IllegalStateException("as this test wants it"))
    check(get("/mongo"), 500, """{"error":"internal error"}""")
  }

  for (target <- Seq("/", "/mongo/", "/mongo_bigger", "/Mongo", "/sleep/1", "//mongo")) test(s"$target is not found") {
    check(get(target), 404, """{"error":"not found"}""")
    check(ask("POST", target), 404, """{"error":"not found"}""")
  }

  for (
    method <- Seq("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW");
    path   <- Seq("/mongo", "/mongo_big", "/sleep")
  )
    test(s"$method $path is not allowed") {
      val response = ask(method, path, body = "ignored" * 10000)
      check(response, 405, """{"error":"method not allowed"}""")
      assertEquals(header(response, "Allow"), Some("GET, HEAD"))
    }

  for (ms <- Seq("0", "1", "00000", "00007", "50")) test(s"ms=$ms sleeps") {
    val started = System.nanoTime()
    check(get(s"/sleep?ms=$ms"), 200, s"""{"slept_ms":${ms.toInt}}""")
    assert(System.nanoTime() - started >= ms.toInt * 1000000L)
  }

  test("what follows a request with both lengths is not taken for another") {
    Using.resource(new Socket("127.0.0.1", server.mainAddress.getPort)) { socket =>
      val lengths = "Content-Length: 60\r\nTransfer-Encoding: chunked"
      val hidden  = "GET /sleep?ms=0 HTTP/1.1\r\nHost: test\r\n\r\n"
      socket.getOutputStream.write(
        s"POST /sleep HTTP/1.1\r\nHost: test\r\n$lengths\r\n\r\n0\r\n\r\n$hidden".getBytes
      )
      val replies = new String(socket.getInputStream.readAllBytes(), UTF_8)
      assert(clue(replies).startsWith("HTTP/1.1 405 "))
      assert(!replies.contains("slept_ms"))
    }
  }

  private val notFound = """{"error":"not found"}"""
  private val document = """{"a":1}"""
  private val refused  = """{"error":"ms must be an integer from 0 to 10000"}"""
  private val slept    = """{"slept_ms":0}"""

  for {
    (request, status, body) <- Seq(
      ("GET /%6Dongo HTTP/1.1", 200, document),
      ("GET /mongo%5fbig HTTP/1.1", 200, document),
      ("GET /mongo%2F HTTP/1.1", 404, notFound),
      ("GET /%2Fmongo HTTP/1.1", 404, notFound),
      ("GET /%256Dongo HTTP/1.1", 404, notFound),
      ("GET //mongo HTTP/1.1", 404, notFound),
      ("GET //test/mongo HTTP/1.1", 404, notFound),
      ("GET /mongo|[] HTTP/1.1", 404, notFound),
      ("GET mongo HTTP/1.1", 404, notFound),
      ("GET x/mongo HTTP/1.1", 404, notFound),
      ("GET * HTTP/1.1", 404, notFound),
      ("GET http://test/mongo HTTP/1.1", 200, document),
      ("GET HTTP://other:99/mongo?x HTTP/1.1", 200, document),
      ("GET http://test/sleep?ms=0 HTTP/1.1", 200, slept),
      ("GET http://test HTTP/1.1", 404, notFound),
      ("GET http://test//mongo HTTP/1.1", 404, notFound),
      ("GET /sleep?ms=0;x=1 HTTP/1.1", 400, refused),
      ("GET /sleep?x=1;ms=zz&ms=0 HTTP/1.1", 200, slept),
      (s"GET /sleep?${"a&" * 1500}ms=0 HTTP/1.1", 200, slept),
      ("GET /sleep?&&m%73=%30& HTTP/1.1", 200, slept),
      ("GET /sleep?ms=%zz HTTP/1.1", 400, """{"error":"ms must be an integer from 0 to 10000"}"""),
      ("GET /sleep?ms=0&other=% HTTP/1.1", 200, """{"slept_ms":0}"""),
      ("GET /%zz HTTP/1.1", 404, """{"error":"not found"}"""),
      ("GET /sleep HTTP/1.1\r\nContent-Length: abc", 400, """{"error":"bad request"}"""),
      ("GET /sleep HTTP/1.1\r\nContent-Length: 99999999999999999999", 400, """{"error":"bad request"}"""),
      ("GET /sleep HTTP/1.1\r\nTransfer-Encoding: chunked", 400, """{"error":"bad request"}"""),
      (s"GET /${"a" * 5000} HTTP/1.1", 414, """{"error":"bad request"}"""),
      ("HELLO", 400, """{"error":"bad request"}""")
    )
  } test(s"${request.take(60)} is answered in JSON") {
    Store.next = Future.successful(Some(BsonDocument.parse(document)))
    Using.resource(new Socket("127.0.0.1", server.mainAddress.getPort)) { socket =>
      socket.getOutputStream.write(s"$request\r\nHost: test\r\nConnection: close\r\n\r\n".getBytes)
      val reply = new String(socket.getInputStream.readAllBytes(), UTF_8)
      assert(clue(reply).matches(s"(?s)HTTP/1\\.[01] $status .*"))
      assert(reply.contains("\r\nContent-Type: application/json\r\n"))
      assert(reply.endsWith("\r\n\r\n" + body))
    }
  }

  for (
    lines <- Seq("close", "Close", "TE, close", "keep-alive,close", "close , TE", "close \t", "TE\r\nConnection: close")
  ) test(s"Connection: $lines closes after the reply") {
    Using.resource(new Socket("127.0.0.1", server.mainAddress.getPort)) { socket =>
      socket.setSoTimeout(3000)
      socket.getOutputStream.write(s"GET /sleep?ms=0 HTTP/1.1\r\nHost: test\r\nConnection: $lines\r\n\r\n".getBytes)
      val reply = new String(socket.getInputStream.readAllBytes(), UTF_8)
      assert(clue(reply).startsWith("HTTP/1.1 200 "))
      assert(reply.toLowerCase.contains("\r\nconnection: close\r\n"))
    }
  }

  test("a long document is sent in pieces, and counts no more when it has gone or its client has") {
    val text = "größe" * 100000
    Store.next = Future.successful(Some(new BsonDocument("text", new BsonString(text))))
    for (_ <- 1 to 5) Using.resource(new Socket("127.0.0.1", server.mainAddress.getPort)) { gone =>
      gone.getOutputStream.write("GET /mongo HTTP/1.1\r\nHost: test\r\n\r\n".getBytes)
      assert(gone.getInputStream.read() == 'H')
    }
    check(get("/mongo"), 200, s"""{"text":"$text"}""")
    assertEquals(header(ask("HEAD", "/mongo"), "Content-Length"), Some((text.getBytes(UTF_8).length + 11).toString))
    check(get("/mongo_big"), 200, s"""{"text":"$text"}""")
  }

  test("a sleep lasts a second unless it is told otherwise") {
    val started = System.nanoTime()
    check(get("/sleep"), 200, """{"slept_ms":1000}""")
    assert(System.nanoTime() - started >= 1000000000L)
  }

  for (
    query <- Seq(
      "ms=",
      "ms",
      "ms=-1",
      "ms=%2B5",
      "ms=+5",
      "ms=1.0",
      "ms=10001",
      "ms=100000",
      "ms=1&ms=2",
      "ms=%D9%A3",
      "ms=1e3",
      "ms=1%0A"
    )
  )
    test(s"$query is refused") {
      check(get(s"/sleep?$query"), 400, """{"error":"ms must be an integer from 0 to 10000"}""")
    }

  test("a thousand may sleep at once") {
    val uri     = URI.create(s"http://127.0.0.1:${server.mainAddress.getPort}/sleep?ms=1000")
    val started = System.nanoTime()
    val replies = Seq.fill(1000)(client.sendAsync(HttpRequest.newBuilder(uri).build(), BodyHandlers.ofString()))
    assertEquals(replies.map(_.get.statusCode).toSet, Set(200))
    // With a thread for each processor asleep they would take minutes.
    assert(System.nanoTime() - started < 25e9)
  }
}
