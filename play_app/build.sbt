lazy val app = (project in file("."))
  // PlayService is Play without templates, assets and the filters of web pages.
  .enablePlugins(PlayService, PlayNettyServer)
  .disablePlugins(PlayPekkoHttpServer, PlayFilters)
  .settings(
    name         := "play-app",
    version      := "1.0",
    scalaVersion := "2.13.18",
    // The folders that Play's documentation names.
    Compile / scalaSource       := baseDirectory.value / "app",
    Compile / resourceDirectory := baseDirectory.value / "conf",
    Test / scalaSource          := baseDirectory.value / "test",
    scalacOptions ++= Seq(
      "-deprecation",
      "-feature",
      "-unchecked",
      // Extended JSON has keys like "$date", which this lint takes for a forgotten s"".
      "-Xlint:_,-missing-interpolator",
      "-Wunused",
      "-Wvalue-discard",
      "-Werror"
    ),
    libraryDependencies ++= Seq(
      "org.reactivemongo" %% "reactivemongo"       % "1.1.0-pekko.RC13",
      "org.mongodb"        % "mongodb-driver-sync" % "5.8.1",
      "org.scalameta"     %% "munit"               % "1.2.1" % Test
    ),
    // play-test brings Selenium, in whatever version is the newest. The tests here start a server and ask it.
    libraryDependencies ~= (_.filterNot(_.name == "play-test")),
    // Of the Netty backend Maven Central has nothing newer; it runs with every Play 3.0.
    libraryDependencies ~= (_.map(module =>
      if (module.name == "play-netty-server") module.withRevision("3.0.8") else module
    )),
    // The tests start the application as a process of its own, with the class path of theirs. The suites run side by
    // side, because most of their time is waiting.
    Test / fork               := true,
    Test / testForkedParallel := true,
    Test / javaOptions ++= Seq("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
    Compile / mainClass := Some("articles.Main"),
    // The heap of the staged application (-J: for the JVM). 5,000 connections with a request each under way leave half
    // of it free; JAVA_OPTS=-Xmx1g or an argument -J-Xmx1g says otherwise.
    Universal / javaOptions ++= Seq("-J-Xms512m", "-J-Xmx512m", "-J-XX:+ExitOnOutOfMemoryError"),
    // `sbt run` listens where the staged application does.
    PlayKeys.playDefaultAddress := "127.0.0.1",
    PlayKeys.playDefaultPort    := 5000,
    // Nobody reads the API pages of an application.
    Compile / doc / sources := Nil
  )
