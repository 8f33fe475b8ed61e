"""An HTTP server that can stop without breaking off a request that it has begun to read."""

import asyncio
from collections.abc import Awaitable
from functools import partial
from typing import Any, cast

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, RequestStartLine
from tornado.iostream import IOStream
from tornado.web import Application

# A request that was on its way when the stop began still finds its connection open.
_CROSSING_S = 0.1


class DrainingServer(HTTPServer):
    """tornado's HTTPServer with ``drain``; its own ``close_all_connections`` breaks off what is being answered."""

    def initialize(self, application: Application, *, most_connections: int, **limits: Any) -> None:  # type: ignore[override]
        """Called by tornado in place of ``__init__``; ``limits`` are the keyword arguments of HTTPServer."""
        super().initialize(application, **limits)
        self._most_connections = most_connections
        self._connections_open = 0
        # The open connections, each in one of the two; an idle one with what waits for its next request.
        self._idle: dict[object, Any] = {}
        self._busy: set[object] = set()
        self._draining = False
        self._less_busy = asyncio.Event()

    async def drain(self, limit_s: float) -> None:
        """Stop accepting, answer what has begun, close every connection when it is idle or, at last, after ``limit_s``.

        From the first moment replies say ``Connection: close``.
        """
        self.stop()
        self.conn_params.no_keep_alive = True
        await asyncio.sleep(_CROSSING_S)
        self._draining = True
        for request_conn in list(self._idle.values()):
            request_conn.close()
        try:
            async with asyncio.timeout(limit_s):
                while self._busy:
                    self._less_busy.clear()
                    await self._less_busy.wait()
        except TimeoutError:
            await self.close_all_connections()

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Called by tornado for a connection that it has accepted."""
        if self._connections_open == self._most_connections:
            # When the process runs out of open files instead, accepting fails over and over and fills log and CPU.
            stream.close()
            return
        self._connections_open += 1
        super().handle_stream(stream, address)

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        """Called by tornado when a connection starts to wait for a request, the first one or the next."""
        self._answered(server_conn)
        self._idle[server_conn] = request_conn
        if self._draining:
            request_conn.close()
        request: Any = super().start_request(server_conn, request_conn)
        request.headers_received = partial(self._begin, request.headers_received, server_conn, request_conn)
        return cast(HTTPMessageDelegate, request)

    def on_close(self, server_conn: object) -> None:
        super().on_close(server_conn)
        self._connections_open -= 1
        self._idle.pop(server_conn, None)
        self._answered(server_conn)

    def _begin(
        self, begin: Any, server_conn: object, request_conn: Any, start_line: RequestStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """A request's head has been read from this connection."""
        if request_conn.stream.closed():
            # The client has gone and left requests in the buffer. None of them would wait for its reply to be taken:
            # thousands would begin at once, and real clients wait behind them.
            request_conn.detach()
            return None
        # RFC 9110, 7.6.1: the header is a list. Tornado takes it for one word.
        if (words := headers.get("Connection")) and "close" in {word.strip().lower() for word in words.split(",")}:
            request_conn._disconnect_on_finish = True
        self._idle.pop(server_conn, None)
        self._busy.add(server_conn)
        return cast(Awaitable[None] | None, begin(start_line, headers))

    def _answered(self, server_conn: object) -> None:
        self._busy.discard(server_conn)
        self._less_busy.set()
