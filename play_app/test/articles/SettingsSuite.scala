package articles

import scala.concurrent.duration._

import articles.Settings.BadSetting
import com.mongodb.ConnectionString

final class SettingsSuite extends munit.FunSuite {

  private def refused(variables: (String, String)*): String =
    intercept[BadSetting](Settings.read(variables.toMap)).getMessage

  test("nothing set") {
    val settings = Settings.read(Map.empty)
    assertEquals((settings.host, settings.port), ("127.0.0.1", 5000))
    assertEquals(settings.mongodbUri, new ConnectionString("mongodb://127.0.0.1:27017"))
    assertEquals(settings.database, "articles")
    assertEquals(settings.webConcurrency, Runtime.getRuntime.availableProcessors)
    assertEquals(settings.dbTimeout, 10.seconds)
    assertEquals((settings.poolSize, settings.accessLog), (None, false))
  }

  test("an empty value counts as not set") {
    val names = Seq("HOST", "PORT", "MONGODB_URI", "MONGODB_DATABASE", "MONGODB_MAX_POOL_SIZE", "WEB_CONCURRENCY")
    val more  = Seq("THREADS", "DB_TIMEOUT_MS", "ACCESS_LOG", "APPLICATION_SECRET")
    val blank = Settings.read((names ++ more).map(_ -> "").toMap)
    assertEquals(blank.copy(secret = ""), Settings.read(Map.empty).copy(secret = ""))
  }

  test("everything set") {
    val settings = Settings.read(
      Map(
        "HOST"                  -> "::1",
        "PORT"                  -> "65535",
        "MONGODB_URI"           -> "mongodb://db.example/",
        "MONGODB_DATABASE"      -> "news",
        "MONGODB_MAX_POOL_SIZE" -> "7",
        "WEB_CONCURRENCY"       -> "3",
        "THREADS"               -> "9",
        "DB_TIMEOUT_MS"         -> "250",
        "ACCESS_LOG"            -> "1",
        "APPLICATION_SECRET"    -> "s" * 32
      )
    )
    val uri      = new ConnectionString("mongodb://db.example/")
    val expected = Settings("::1", 65535, uri, "news", Some(7), 3, 9, 250.millis, true, "s" * 32)
    assertEquals(settings, expected)
  }

  for {
    (name, range) <- Seq(
      "PORT"                  -> "an integer from 1 to 65535",
      "MONGODB_MAX_POOL_SIZE" -> "an integer of 1 or more",
      "WEB_CONCURRENCY"       -> "an integer of 1 or more",
      "THREADS"               -> "an integer of 1 or more",
      "WORKER_CONNECTIONS"    -> "an integer of 1 or more",
      "DB_TIMEOUT_MS"         -> "an integer from 1 to 600000",
      "ACCESS_LOG"            -> "an integer from 0 to 1"
    )
    bad <- Seq("abc", "-1", "+5", "1.5", "9999999999", "99999999999999999999", "٣", " 5")
  } test(s"$name=$bad is refused by name")(assertEquals(refused(name -> bad), s"$name must be $range, not '$bad'"))

  test("zero is refused where one is the least") {
    Seq("PORT", "MONGODB_MAX_POOL_SIZE", "WEB_CONCURRENCY", "THREADS", "DB_TIMEOUT_MS").foreach { name =>
      assert(clue(refused(name -> "0")).startsWith(s"$name must be"))
    }
  }

  test("a URI that no driver can parse is refused without its password") {
    Seq("http://127.0.0.1", "mongodb://user:pa:ss@w@rd@host", "mongodb://user:secret@host:port/", "mongodb://").foreach {
      uri =>
        assertEquals(
          refused("MONGODB_URI" -> uri),
          "MONGODB_URI must be a MongoDB connection string that the driver can parse"
        )
    }
  }

  test("a name that no database can have is refused") {
    Seq("a/b", "a b", "a.b", "a$b", "a\"b", "a" * 64).foreach { name =>
      assertEquals(
        refused("MONGODB_DATABASE" -> name),
        s"MONGODB_DATABASE, or the path of MONGODB_URI, must be a valid database name, not '$name'"
      )
    }
  }

  test("the database is MONGODB_DATABASE, else that of the URI's path") {
    val uri = "MONGODB_URI" -> "mongodb://u:p@db.example/news?authSource=admin"
    assertEquals(Settings.read(Map(uri)).database, "news")
    assertEquals(Settings.read(Map(uri, "MONGODB_DATABASE" -> "other")).database, "other")
  }

  test("the shortest of the timeouts counts, and 0 is none") {
    def timeout(options: String) =
      Settings.read(Map("MONGODB_URI" -> s"mongodb://h/?$options", "DB_TIMEOUT_MS" -> "700")).dbTimeout
    assertEquals(timeout("socketTimeoutMS=0"), 700.millis)
    assertEquals(timeout("timeoutMS=800"), 700.millis)
    assertEquals(timeout("socketTimeoutMS=600"), 600.millis)
    assertEquals(timeout("socketTimeoutMS=600&timeoutMS=500"), 500.millis)
  }

  test("the name server is not asked at the start") {
    val settings = Settings.read(Map("MONGODB_URI" -> "mongodb+srv://u:p@none.invalid/news"))
    assertEquals(settings.database, "news")
  }

  // What is left out of these two, the driver and the tests on a mongod see to.
  for (
    (store, start) <- Seq[(String, Settings => Any)](
      "ReactiveMongo" -> (new ReactiveStore(_, null)(scala.concurrent.ExecutionContext.parasitic)),
      "the driver"    -> (new BlockingStore(_))
    );
    option <- Seq(
      "tlsCAFile=ca.pem",
      "tlsCertificateKeyFile=key.pem",
      "tlsInsecure=true",
      "tlsAllowInvalidCertificates=true",
      "waitQueueTimeoutMS=5",
      "compressors=snappy",
      "compressors=zstd,zlib",
      "sslAllowInvalidCertificates=true",
      "minPoolSize=3&maxPoolSize=2",
      "maxPoolSize=0",
      "noSuchOption=1"
    )
  ) test(s"$store: $option is refused") {
    val message = intercept[BadSetting](start(Settings.read(Map("MONGODB_URI" -> s"mongodb://h/?$option")))).getMessage
    assert(clue(message).startsWith("MONGODB_URI must not have "))
  }

  for (
    option <- Seq(
      "directConnection=true",
      "loadBalanced=true",
      "retryReads=false",
      "appName=x",
      "rm.nbChannelsPerNode=0",
      "minPoolSize=5",
      "maxStalenessSeconds=90&readPreference=secondary",
      "readPreference=secondary&readPreferenceTags=dc:ny",
      "tlsAllowInvalidHostnames=true",
      "authMechanism=MONGODB-X509"
    )
  ) test(s"ReactiveMongo: $option is refused") {
    val settings = Settings.read(Map("MONGODB_URI" -> s"mongodb://h/?$option"))
    val start    = () => new ReactiveStore(settings, null)(scala.concurrent.ExecutionContext.parasitic)
    assert(clue(intercept[BadSetting](start()).getMessage).startsWith("MONGODB_URI must not have "))
  }

  test("a secret is generated on loopback, and needed elsewhere") {
    val generated = Settings.read(Map.empty).secret
    assert(generated.length >= 32)
    assertNotEquals(Settings.read(Map.empty).secret, generated)
    assert(
      refused("HOST" -> "0.0.0.0").startsWith("APPLICATION_SECRET must be set where HOST is not a loopback address")
    )
    assertEquals(refused("APPLICATION_SECRET" -> "short"), "APPLICATION_SECRET must be 32 bytes or longer")
    assertEquals(Settings.read(Map("HOST" -> "0.0.0.0", "APPLICATION_SECRET" -> "s" * 40)).secret, "s" * 40)
  }
}
