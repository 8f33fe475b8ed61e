package articles

import scala.concurrent.Future
import scala.util.control.NoStackTrace

/** Where the documents come from. `D` is the driver's own decoded document. */
trait DocumentStore[D] {

  /** Finds the one document of `collection`; None where the collection is empty.
    *
    * Fails with DatabaseUnavailable where the database, a connection to it or the operation fails or takes too long.
    */
  def findOne(collection: String): Future[Option[D]]

  /** Closes the connections. */
  def close(): Future[Unit]
}

/** The database did not answer, whatever the driver calls it. The message is one line for the log. */
final class DatabaseUnavailable(message: String) extends RuntimeException(message) with NoStackTrace
