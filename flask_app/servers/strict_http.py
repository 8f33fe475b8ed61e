"""What uWSGI's parser leaves to do (watched with 2.0.31), against request smuggling. gunicorn does it by itself."""

import re
from collections.abc import Callable
from itertools import chain
from typing import Any
from urllib.parse import unquote_to_bytes

from werkzeug.wsgi import ClosingIterator

Wsgi = Callable[[dict[str, Any], Any], Any]

_NOT_IN_A_HEADER = re.compile("[\r\n\0]")
_ABSOLUTE_FORM = re.compile("https?://[^/?]*([^?]*)", re.IGNORECASE)


def is_malformed(environ: dict[str, Any]) -> bool:
    """Return whether RFC 9112 has a request refused, or no handler here could read its body."""
    if environ.get("SERVER_PROTOCOL") not in ("HTTP/1.0", "HTTP/1.1"):
        return True  # a TLS greeting, HTTP/0.9, a version that is none
    length = environ.get("CONTENT_LENGTH", "")
    # uWSGI does not read a chunked body before the next request, and what is left of it would be taken for one.
    if "HTTP_TRANSFER_ENCODING" in environ or (length and not re.fullmatch("[0-9]+", length)):
        return True
    headers = [(name, value) for name, value in environ.items() if name.startswith("HTTP_")]
    return any(" " in name or "\t" in name or _NOT_IN_A_HEADER.search(str(value)) for name, value in headers)


def strict(application: Wsgi, end_connection: Callable[[], None] = lambda: None) -> Wsgi:
    """Return ``application`` for requests that are well-formed; call ``end_connection`` after a last reply."""

    def serve(environ: dict[str, Any], start_response: Any) -> Any:
        def start_last_response(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, ("Connection", "close")], *more)

        if is_malformed(environ):
            start_last_response("400 Bad Request", [("Content-Length", "0")])
            return ClosingIterator([b""], end_connection)
        if absolute := _ABSOLUTE_FORM.match(environ["REQUEST_URI"]):  # RFC 9112, 3.2.2
            environ["PATH_INFO"] = unquote_to_bytes(absolute[1]).decode("latin-1")
        if "close" not in re.split("[ \t]*,[ \t]*", environ.get("HTTP_CONNECTION", "").strip(" \t").lower()):
            return application(environ, start_response)
        # uWSGI sends the head with the first piece of the body, which HEAD has not.
        body = application(environ, start_last_response)
        return ClosingIterator(chain(body, [b""]), [body.close, end_connection])

    return serve
