package articles

import scala.concurrent.duration._

import articles.Settings.BadSetting

final class SettingsSuite extends munit.FunSuite {

  private def refused(variables: (String, String)*): String =
    intercept[BadSetting](Settings.read(variables.toMap)).getMessage

  test("nothing set") {
    val settings = Settings.read(Map.empty)
    assertEquals((settings.host, settings.port), ("127.0.0.1", 5000))
    assertEquals((settings.mongodbUri, settings.database), ("mongodb://127.0.0.1:27017", "articles"))
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
    val expected = Settings("::1", 65535, "mongodb://db.example/", "news", Some(7), 3, 9, 250.millis, true, "s" * 32)
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
      assertEquals(refused("MONGODB_DATABASE" -> name), s"MONGODB_DATABASE must be a valid database name, not '$name'")
    }
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
