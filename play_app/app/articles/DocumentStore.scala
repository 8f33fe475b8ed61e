package articles

import scala.concurrent.Future
import scala.concurrent.duration.FiniteDuration
import scala.util.control.NoStackTrace

/** Where the documents come from. `D` is the driver's own decoded document. */
trait DocumentStore[D] {

  /** The finds that may be under way at once: as many as there are connections for them. */
  def places: Int

  /** Finds the one document of `collection`, for a request that has `waited`; None where the collection is empty.
    *
    * Fails with DatabaseUnavailable where the database, a connection to it or the operation fails or takes too long.
    */
  def findOne(collection: String, waited: FiniteDuration): Future[Option[D]]

  /** Closes the connections. */
  def close(): Future[Unit]
}

/** The database did not answer, whatever the driver calls it. The message is one line for the log. */
final class DatabaseUnavailable(message: String) extends RuntimeException(message) with NoStackTrace

object DatabaseUnavailable {
  def apply(error: Throwable): DatabaseUnavailable =
    new DatabaseUnavailable(Option(error.getMessage).flatMap(_.linesIterator.nextOption()).getOrElse(error.toString))
}
