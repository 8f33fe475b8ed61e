"""``application`` for uWSGI's ``http11-socket``: "Connection: close is not honoured" (proto/http.c, 2.0.31)."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import uwsgi

from servers.strict_http import strict
from servers.wsgi import application as flask_application


def _end_connection() -> None:
    # uWSGI keeps the descriptor itself, so a copy is closed here. Its worker then reads the end, and closes.
    with socket.socket(fileno=os.dup(uwsgi.connection_fd())) as connection:
        connection.shutdown(socket.SHUT_RDWR)


def _patient(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    # A client may pause in the reply: a write that blocks knows nothing of ``socket-timeout``, which would cut it off.
    os.set_blocking(uwsgi.connection_fd(), True)
    body: Any = flask_application(environ, start_response)
    with closing(body):
        yield from body
    os.set_blocking(uwsgi.connection_fd(), False)


application = strict(_patient, _end_connection)
