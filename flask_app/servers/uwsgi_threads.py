"""``application`` for uWSGI's ``http11-socket``, which keeps connections but "Connection: close is not honoured".

That sentence is in uWSGI's source (proto/http.c, 2.0.31); a client that waits for the close would wait until the idle
time-out, holding a thread.
"""

import os
import socket
from collections.abc import Iterable
from typing import Any

import uwsgi
from werkzeug.wsgi import ClosingIterator

from servers.strict_http import is_malformed
from servers.wsgi import application as flask_application


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Serve a request, and end the connection after the reply when the client asks for it."""
    if is_malformed(environ):
        start_response("400 Bad Request", [("Content-Length", "0"), ("Connection", "close")])
        return ClosingIterator([], _end_connection)
    if environ.get("HTTP_CONNECTION", "").lower() != "close":
        return flask_application(environ, start_response)

    def start_last_response(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        return start_response(status, [*headers, ("Connection", "close")], *more)

    return ClosingIterator(flask_application(environ, start_last_response), _end_connection)


def _end_connection() -> None:
    # uWSGI keeps the descriptor itself, so a copy is closed here. Its worker then reads the end, and closes.
    with socket.socket(fileno=os.dup(uwsgi.connection_fd())) as connection:
        connection.shutdown(socket.SHUT_RDWR)
