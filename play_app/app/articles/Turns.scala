package articles

import java.util.ArrayDeque

import scala.annotation.tailrec
import scala.collection.mutable
import scala.concurrent.duration._
import scala.concurrent.{ ExecutionContext, Future, Promise }
import scala.jdk.CollectionConverters._

import org.apache.pekko.actor.Scheduler
import org.apache.pekko.util.ByteString
import play.api.mvc.{ Result, Results }

/** Lets finds begin in the order in which they came: at most `places` at once, and what half of the heap holds.
  *
  * How large a document is shows only when it is here. So a find claims what the last one of its collection took, or,
  * where that is not known, half of the memory. README.md, "Memory", has the formula.
  */
final class Turns(places: Int, longest: FiniteDuration, scheduler: Scheduler) {
  import Turns._

  private val budget     = Runtime.getRuntime.maxMemory / 2
  private val forSlow    = budget / 4
  private val waiting    = new ArrayDeque[Turn]
  private val lastLength = mutable.Map.empty[String, (Int, Deadline)]
  private var running    = 0
  private var claimed    = 0L
  private var sending    = 0L // a part of it: replies that clients have not taken yet

  /** Runs `find` when its turn has come. Fails with DatabaseUnavailable after `longest`; `find` may still run then. */
  def run(collection: String)(find: Turn => Future[Result]): Future[Result] = {
    val turn  = new Turn(collection, find)
    val late  = new DatabaseUnavailable(s"no answer within $longest")
    val timer = scheduler.scheduleOnce(longest)(turn.result.tryFailure(late): Unit)(parasitic)
    turn.result.future.onComplete(_ => timer.cancel())(parasitic)
    synchronized(waiting.add(turn)): Unit
    beginNext()
    turn.result.future
  }

  final class Turn private[Turns] (collection: String, find: Turn => Future[Result]) {
    private val arrived       = Deadline.now
    private var claim         = 0L
    private var length        = 0
    private[Turns] val result = Promise[Result]()

    def waited: FiniteDuration = -arrived.timeLeft

    /** The reply that is `json`. A long one keeps its memory until the client has taken it. */
    def reply(json: ByteString): Result = {
      length = json.length
      if (length <= LongReply) Json(Results.Ok, json) else Json.inPieces(Results.Ok, json.compact)(taken())
    }

    private[Turns] def takesPlace(): Boolean = {
      val known = lastLength.get(collection).filter(_._2.hasTimeLeft())
      claim = known.fold(budget / 2)(_._1.toLong * FindingFactor)
      val begins = !result.isCompleted && (claimed + claim <= budget || running == 0 && sending <= forSlow)
      if (begins) {
        running += 1
        claimed += claim
      }
      begins
    }

    private[Turns] def begin(): Unit = Future.delegate(find(this))(parasitic).onComplete { found =>
      Turns.this.synchronized {
        running -= 1
        claimed += toSend - claim
        sending += toSend
        if (found.isSuccess) lastLength(collection) = (length, Remembered.fromNow)
      }
      if (result.tryComplete(found)) beginNext() else taken()
    }(parasitic)

    private def toSend: Int = if (length <= LongReply) 0 else length

    private def taken(): Unit = {
      Turns.this.synchronized {
        claimed -= toSend
        sending -= toSend
      }
      beginNext()
    }
  }

  @tailrec private def beginNext(): Unit = {
    val next = synchronized {
      while (!waiting.isEmpty && waiting.peek().result.isCompleted) waiting.poll(): Unit
      // While slow clients hold the memory that the first one needs, those go before it that need less.
      val candidates = if (sending <= forSlow) waiting.asScala.iterator.take(1) else waiting.asScala.iterator
      if (running < places) candidates.find(_.takesPlace()).filter(waiting.remove(_)) else None
    }
    if (next.nonEmpty) {
      next.get.begin()
      beginNext()
    }
  }
}

private object Turns {
  private val parasitic = ExecutionContext.parasitic
  // A longer reply does not fit into the buffers of the kernel.
  private val LongReply = 64 * 1024
  // Memory for each byte of the reply while it is found, decoded and encoded: `{}` is an object of 72.
  private val FindingFactor = 32
  private val Remembered    = 1.second
}
