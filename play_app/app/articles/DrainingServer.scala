package articles

import java.util.ArrayDeque
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.atomic.AtomicInteger

import scala.concurrent.{ Future, Promise }

import io.netty.channel._
import io.netty.handler.codec.http.{ HttpHeaderNames, HttpHeaderValues, HttpRequest, HttpResponse }
import io.netty.util.ReferenceCountUtil
import org.apache.pekko.Done
import org.apache.pekko.actor.CoordinatedShutdown
import play.core.server.{ NettyServer, Server, ServerProvider }

/** Play's Netty server, which when it stops answers what it has accepted. Play's own cuts its connections at once. */
final class DrainingServerProvider extends ServerProvider {

  override def createServer(context: ServerProvider.Context): Server = {
    val connections = new Connections
    // In the phase in which Play closes the listening socket: it closes the connections in the next one.
    CoordinatedShutdown(context.actorSystem)
      .addTask(CoordinatedShutdown.PhaseServiceUnbind, "answer-what-was-accepted")(() => connections.drain())
    new DrainingServer(context, connections)
  }
}

final private class DrainingServer(context: ServerProvider.Context, connections: Connections)
    extends NettyServer(context.config, context.appProvider, context.stopHook, context.actorSystem)(
      context.materializer
    ) {

  // Called for each connection. Play's handler is the last of the pipeline, after the one that pairs heads and bodies.
  override protected[this] def newRequestHandler(): ChannelInboundHandler =
    new CombinedChannelDuplexHandler(super.newRequestHandler(), new ChannelOutboundHandlerAdapter) {
      override def handlerAdded(context: ChannelHandlerContext): Unit = {
        context.pipeline
          .addBefore("http-handler", "malformed-requests", new MalformedRequests)
          .addBefore(context.name, "draining", new DrainableConnection(connections))
        super.handlerAdded(context)
      }
    }
}

/** The open connections of a server and the number of requests that they still have to answer. */
final private class Connections {
  private val open        = ConcurrentHashMap.newKeySet[DrainableConnection]
  private val unanswered  = new AtomicInteger
  private val allAnswered = Promise[Done]()

  @volatile private var draining = false

  def isDraining: Boolean = draining

  def opened(connection: DrainableConnection): Unit = open.add(connection): Unit

  def closed(connection: DrainableConnection): Unit = open.remove(connection): Unit

  def asked(): Unit = unanswered.incrementAndGet(): Unit

  def answered(count: Int): Unit =
    if (unanswered.addAndGet(-count) == 0 && draining) allAnswered.trySuccess(Done): Unit

  /** Closes the idle connections now and the others after their replies. The future ends with the last reply. */
  def drain(): Future[Done] = {
    draining = true
    open.forEach(_.closeIfIdle())
    answered(0)
    allAnswered.future
  }
}

/** Counts what one connection has been asked and has answered. All but closeIfIdle runs in the connection's event loop.
  */
final private class DrainableConnection(connections: Connections) extends ChannelDuplexHandler {
  private var context: ChannelHandlerContext = _
  private var unanswered                     = 0
  private val waiting                        = new ArrayDeque[Any]

  override def handlerAdded(added: ChannelHandlerContext): Unit = {
    context = added
    connections.opened(this)
  }

  override def handlerRemoved(removed: ChannelHandlerContext): Unit = {
    connections.closed(this)
    // Of a client that has gone: nobody waits for the answer.
    waiting.forEach(ReferenceCountUtil.release(_): Unit)
    waiting.clear()
    answered(unanswered)
  }

  override def channelRead(context: ChannelHandlerContext, message: Any): Unit =
    message match {
      case _: HttpRequest =>
        unanswered += 1
        connections.asked()
        // What a client sends without waiting is begun in turn: Play would begin all of it at once, before others.
        if (unanswered > 1) waiting.add(message): Unit
        else context.fireChannelRead(message): Unit
      case _ => context.fireChannelRead(message): Unit
    }

  override def write(context: ChannelHandlerContext, message: Any, written: ChannelPromise): Unit = message match {
    case response: HttpResponse =>
      // A client that has sent several requests at once gets all its answers before the connection closes.
      if (connections.isDraining && unanswered <= 1)
        response.headers.set(HttpHeaderNames.CONNECTION, HttpHeaderValues.CLOSE)
      val done: ChannelFutureListener = _ => {
        answered(math.min(1, unanswered))
        val next = waiting.poll()
        if (next != null) context.channel.eventLoop.execute(() => context.fireChannelRead(next): Unit)
      }
      context.write(message, written.unvoid().addListener(done)): Unit
    case _ => context.write(message, written): Unit
  }

  /** Runs in the event loop after what it has read already, so that a request just received is not lost. */
  def closeIfIdle(): Unit =
    context.channel.eventLoop.execute(() => if (unanswered == 0) context.close(): Unit)

  private def answered(count: Int): Unit = {
    unanswered -= count
    connections.answered(count)
  }
}
