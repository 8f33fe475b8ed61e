import java.nio.file.Files
import java.security.MessageDigest

import sbt._
import sbt.Keys._

/** Holds the libraries to the bytes that `dependencies.lock` names: a line for each jar, its sha256 and its file name.
  *
  * Compiling checks it, which is what everything else begins with. `sbt lockDependencies` writes it anew, after a
  * change of versions.
  */
object DependencyLock extends AutoPlugin {
  override def trigger = allRequirements

  object autoImport {
    val lockDependencies  = taskKey[Unit]("Writes dependencies.lock")
    val checkDependencies = taskKey[Unit]("Fails where the libraries are not those of dependencies.lock")
  }
  import autoImport._

  override def requires = plugins.JvmPlugin

  override def projectSettings: Seq[Setting[_]] = Seq(
    lockDependencies := IO.writeLines(lockFile(baseDirectory.value), lines((Test / externalDependencyClasspath).value)),
    checkDependencies := {
      val locked  = IO.readLines(lockFile(baseDirectory.value))
      val found   = lines((Test / externalDependencyClasspath).value)
      val differs = (found.diff(locked) ++ locked.diff(found)).map(_.split("  ").last).distinct
      if (differs.nonEmpty)
        throw new MessageOnlyException(
          s"not as dependencies.lock says: ${differs.mkString(", ")}; `sbt lockDependencies` writes it anew"
        )
    },
    Compile / compile := (Compile / compile).dependsOn(checkDependencies).value
  )

  private def lockFile(folder: File) = folder / "dependencies.lock"

  private def lines(classpath: Seq[Attributed[File]]): Seq[String] =
    classpath.map(_.data).map(jar => s"${sha256(jar)}  ${jar.getName}").distinct.sortBy(_.split("  ").last)

  private def sha256(file: File): String =
    MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(file.toPath)).map(byte => f"$byte%02x").mkString
}
