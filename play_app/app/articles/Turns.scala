package articles

import java.util.ArrayDeque

import scala.annotation.tailrec
import scala.collection.mutable
import scala.concurrent.duration._
import scala.concurrent.{ ExecutionContext, Future, Promise }

import org.apache.pekko.actor.Scheduler
import org.apache.pekko.util.ByteString
import play.api.mvc.{ Result, Results }

/** Lets finds begin in the order in which they came: at most `places` at once, and what half of the heap holds.
  *
  * How large a document is shows only when it is here. So a find claims what the last one of its collection took, or,
  * where that is not known, all of the memory. README.md, "Memory", has the formula.
  *
  * @param longest
  *   the longest that a request waits for its turn and its find
  */
final class Turns(places: Int, longest: FiniteDuration, scheduler: Scheduler)(implicit ec: ExecutionContext) {
  import Turns._

  private val budget    = Runtime.getRuntime.maxMemory / 2
  private val waiting   = new ArrayDeque[Turn]
  private val lastReply = mutable.Map.empty[String, (Int, Deadline)]
  private var running   = 0
  private var claimed   = 0L

  /** Runs `find` when its turn has come. Fails with DatabaseUnavailable after `longest`; `find` may still run then. */
  def run(collection: String)(find: Turn => Future[Result]): Future[Result] = {
    val turn  = new Turn(collection, find)
    val late  = new DatabaseUnavailable(s"no answer within $longest")
    val timer = scheduler.scheduleOnce(longest)(turn.result.tryFailure(late): Unit)
    turn.result.future.onComplete(_ => timer.cancel())
    synchronized(waiting.add(turn)): Unit
    beginNext()
    turn.result.future
  }

  final class Turn private[Turns] (collection: String, find: Turn => Future[Result]) {
    private val arrived       = Deadline.now
    private var claim         = 0L
    private var isSent        = true
    private[Turns] val result = Promise[Result]()

    def waited: FiniteDuration = -arrived.timeLeft

    /** The reply that is `json`. A long one keeps its memory until the client has taken it. */
    def reply(json: ByteString): Result = {
      Turns.this.synchronized(lastReply(collection) = (json.length, Remembered.fromNow))
      isSent = json.length <= LongReply
      if (isSent) Json(Results.Ok, json)
      else {
        claims(json.length.toLong * SendingFactor)
        Json.inPieces(Results.Ok, json)(claimsNothing())
      }
    }

    private[Turns] def takesPlace(): Boolean = {
      val most   = lastReply.get(collection).filter(_._2.hasTimeLeft()).fold(budget)(_._1.toLong * FindingFactor)
      val begins = running < places && (claimed + most <= budget || claimed == 0)
      if (begins) {
        running += 1
        claims(most)
      }
      begins
    }

    private[Turns] def begin(): Unit = Future.delegate(find(this)).onComplete { found =>
      Turns.this.synchronized(running -= 1)
      if (!result.tryComplete(found) || isSent) claimsNothing() else beginNext()
    }

    private def claimsNothing(): Unit = {
      claims(0)
      beginNext()
    }

    private def claims(bytes: Long): Unit = Turns.this.synchronized {
      claimed += bytes - claim
      claim = bytes
    }
  }

  @tailrec private def beginNext(): Unit = {
    val next = synchronized {
      while (!waiting.isEmpty && waiting.peek().result.isCompleted) waiting.poll(): Unit
      if (!waiting.isEmpty && waiting.peek().takesPlace()) waiting.poll() else null
    }
    if (next != null) {
      next.begin()
      beginNext()
    }
  }
}

private object Turns {
  // A longer reply does not fit into the buffers of the kernel.
  private val LongReply = 64 * 1024
  // Memory for each byte of the reply: found, decoded and encoded, where `{}` is an object of 72; and while it is sent.
  private val FindingFactor = 32
  private val SendingFactor = 2
  private val Remembered    = 1.second
}
