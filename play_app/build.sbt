val play = "3.0.11"

// PlayService is Play without templates and assets; PlayLayoutPlugin keeps the folders that Play's documentation names.
lazy val app = (project in file("."))
  .enablePlugins(PlayService, PlayLayoutPlugin)
  // The Netty backend serves more requests a second here than the default one (README, "Netty or pekko-http").
  .disablePlugins(PlayPekkoHttpServer)
  .settings(
    name         := "play-app",
    scalaVersion := "2.13.18",
    libraryDependencies ++= Seq(
      // 3.0.8 is the newest of the Netty backend on Maven Central; it runs with every Play 3.0.
      "org.playframework" %% "play-netty-server" % "3.0.8",
      "org.reactivemongo" %% "reactivemongo"     % "1.1.0-pekko.RC13",
      "org.mongodb"        % "mongodb-driver-sync" % "5.8.1",
      "org.scalameta"     %% "munit"             % "1.2.1" % Test
    ),
    scalacOptions ++= Seq("-deprecation", "-feature", "-unchecked", "-Xlint:_,-missing-interpolator", "-Wunused", "-Werror"),
    Compile / mainClass := Some("articles.Main"),
    Compile / doc / sources := Seq.empty,
    Compile / packageDoc / publishArtifact := false
  )
