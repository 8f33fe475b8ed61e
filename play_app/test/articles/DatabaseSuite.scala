package articles

import java.io.File
import java.nio.file.{ Files, Path }
import java.util.concurrent.TimeUnit

import scala.concurrent.duration._
import scala.jdk.CollectionConverters._
import scala.util.Try

import com.mongodb.client.{ MongoClient, MongoClients, MongoDatabase }
import org.bson._
import org.bson.types.ObjectId

/** Against a MongoDB: that of MONGODB_URI, else the `mongod` on PATH. In a database of its own, which it drops. */
final class DatabaseSuite extends munit.FunSuite {
  import AppProcess.{ Loaders, freePort }

  override val munitTimeout: FiniteDuration = 1.minute

  private val name                    = s"play_app_test_${new ObjectId}"
  private var mongod: Option[Process] = None
  private var client: MongoClient     = _
  // One for all tests: what they need differs in the documents only.
  private var apps: Map[String, AppProcess] = Map.empty

  private def mongodOnPath: Option[Path] =
    sys.env.getOrElse("PATH", "").split(File.pathSeparator).map(Path.of(_, "mongod")).find(Files.isExecutable(_))

  private lazy val uri: Option[String] =
    sys.env.get("MONGODB_URI").filter(_.nonEmpty).orElse(mongodOnPath.map { program =>
      val port    = freePort()
      val data    = Files.createTempDirectory("play-app-mongod")
      val command =
        Seq(program.toString, "--dbpath", data.toString, "--bind_ip", "127.0.0.1", "--port", s"$port", "--nounixsocket")
      mongod = Some(
        new ProcessBuilder(command.asJava).redirectErrorStream(true).redirectOutput(data.resolve("log").toFile).start()
      )
      s"mongodb://127.0.0.1:$port"
    })

  private def database: MongoDatabase = client.getDatabase(name)

  private def put(collection: String, document: BsonDocument): Unit = {
    val documents = database.getCollection(collection, classOf[BsonDocument])
    documents.deleteMany(new BsonDocument): Unit
    documents.insertOne(document): Unit
  }

  override def beforeAll(): Unit = uri.foreach { uri =>
    client = MongoClients.create(uri)
    apps =
      Loaders.map(loader => loader -> new AppProcess(loader, "MONGODB_URI" -> uri, "MONGODB_DATABASE" -> name)).toMap
    apps.values.foreach(_.ready())
  }

  override def afterAll(): Unit = {
    apps.values.foreach(app => Try(app.end()))
    Option(client).foreach { client =>
      Try(database.drop()): Unit
      client.close()
    }
    mongod.foreach { process =>
      process.destroy()
      process.waitFor(20, TimeUnit.SECONDS): Unit
    }
  }

  private def onEach(what: String)(test: AppProcess => Unit): Unit = Loaders.foreach { loader =>
    this.test(s"$loader: $what") {
      assume(uri.isDefined, "no MongoDB: set MONGODB_URI, or have mongod on PATH")
      test(apps(loader))
    }
  }

  onEach("documents are served, found by one find each") { app =>
    val id = new ObjectId("53909ff6e4b0f0a1c2d3e401")
    put(
      "articles",
      new BsonDocument("_id", new BsonObjectId(id)).append("canonicalUrl", new BsonString("http://foo.com"))
    )
    put("articles_big", new BsonDocument("_id", new BsonInt32(1)).append("text", new BsonString("größe" * 10000)))
    // More than one document in the collection: a second batch would be asked for.
    database.getCollection("articles_big").insertMany(Seq.fill(200)(new Document("text", "x" * 1000)).asJava): Unit

    database.runCommand(new Document("profile", 2)): Unit
    val replies = Seq.fill(20)(app.get("/mongo")) ++ Seq.fill(20)(app.get("/mongo_big"))
    database.runCommand(new Document("profile", 0)): Unit

    assertEquals(replies.map(_.statusCode).toSet, Set(200))
    assertEquals(
      app.get("/mongo").body,
      """{"_id":{"$oid":"53909ff6e4b0f0a1c2d3e401"},"canonicalUrl":"http://foo.com"}"""
    )
    assertEquals(app.get("/mongo_big").body, s"""{"_id":1,"text":"${"größe" * 10000}"}""")

    val profile    = database.getCollection("system.profile")
    val operations = profile.find(new Document("ns", new Document("$ne", s"$name.system.profile"))).asScala.toSeq
    profile.drop()
    assertEquals(
      operations.groupMapReduce(_.getString("op"))(_ => 1)(_ + _),
      Map("query" -> 40),
      operations.mkString("\n")
    )
  }

  onEach("an empty collection is no document, and a document may come later") { app =>
    database.getCollection("articles").drop()
    assertEquals(app.get("/mongo").statusCode, 404)
    put("articles", new BsonDocument("_id", new BsonInt32(1)))
    assertEquals(app.get("/mongo").body, """{"_id":1}""")
  }

  onEach("types that are rare are served as well") { app =>
    val scope = new BsonDocument("x", new BsonInt32(1))
    put(
      "articles",
      new BsonDocument("_id", new BsonInt32(1))
        .append("least", new BsonMinKey)
        .append("code", new BsonJavaScriptWithScope("f()", scope))
        .append("vector", new BsonBinary(9.toByte, Array[Byte](1)))
        .append("after", new BsonBoolean(true))
    )
    val expected =
      """{"_id":1,"least":{"$minKey":1},"code":{"$code":"f()","$scope":{"x":1}},"vector":{"$binary":{"base64":"AQ==","subType":"09"}},"after":true}"""
    assertEquals(app.get("/mongo").body, expected)
  }
}
