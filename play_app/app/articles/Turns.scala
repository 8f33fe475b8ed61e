package articles

import java.util.ArrayDeque

/** Lets `places` operations run at once and the others wait in the order in which they came. */
final class Turns(places: Int) {
  private val waiting = new ArrayDeque[() => Unit]
  private var free    = places

  /** Runs `operation`, which must end in giveBack, now or when its turn has come. */
  def take(operation: () => Unit): Unit = {
    val runsNow = synchronized {
      val isFree = free > 0
      if (isFree) free -= 1 else waiting.add(operation): Unit
      isFree
    }
    if (runsNow) operation()
  }

  def giveBack(): Unit = {
    val next = synchronized {
      val first = waiting.poll()
      if (first == null) free += 1
      first
    }
    if (next != null) next()
  }
}
