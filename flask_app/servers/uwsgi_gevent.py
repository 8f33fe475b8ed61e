"""``application`` for uWSGI's gevent loop behind its router, which hands on what it should refuse."""

from collections.abc import Iterable
from typing import Any

from servers.strict_http import is_malformed
from servers.wsgi_gevent import application as flask_application


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Serve a request that is well-formed."""
    if is_malformed(environ):
        start_response("400 Bad Request", [("Content-Length", "0"), ("Connection", "close")])
        return []
    return flask_application(environ, start_response)
