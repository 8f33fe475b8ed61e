"""The service: three small handlers, and every error as JSON."""

import re
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, after_this_request, request
from pymongo.errors import PyMongoError
from werkzeug.exceptions import BadRequest, HTTPException, NotFound

from database import Articles
from extended_json import encode

_LONGEST_SLEEP_MS = 10_000
_ERRORS = {404: "not found", 405: "method not allowed", 500: "internal error"}


def create_app(articles: Articles) -> Flask:
    """Return the WSGI application that serves ``articles``."""
    app = Flask(__name__, static_folder=None)
    # `//mongo` is another path, not a redirect to `/mongo`.
    app.url_map.merge_slashes = False
    # OPTIONS is a method like any other that is not served: 405.
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False

    @app.before_request
    def require_well_formed() -> None:
        # RFC 9112, 3.2: two servers in a row could take such a request for different sites. Not every server looks.
        if request.environ["SERVER_PROTOCOL"] == "HTTP/1.1" and "HTTP_HOST" not in request.environ:
            raise BadRequest("no Host header")
        # gunicorn reads a chunked body after the reply, so a handler would run before it is known to be well formed.
        if request.method in ("GET", "HEAD") and "HTTP_TRANSFER_ENCODING" in request.environ:
            raise BadRequest("a body of unknown length")
        # Flask would take `//mongo` and `mongo` for `/mongo`.
        if not re.match("/(?!/)", request.environ["PATH_INFO"]):
            raise NotFound
        # Werkzeug decodes it as UTF-8 and would fail.
        if not request.query_string.isascii():
            raise BadRequest("the query has letters that are not percent-encoded")

    @app.get("/mongo")
    def mongo() -> Response:
        return _document_reply(articles.first("articles", _when_done))

    @app.get("/mongo_big")
    def mongo_big() -> Response:
        return _document_reply(articles.first("articles_big", _when_done))

    @app.get("/sleep")
    def sleep() -> Response:
        ms = _milliseconds(request.args.getlist("ms"))
        time.sleep(ms / 1000)
        return _json_reply(b'{"slept_ms":%d}' % ms)

    @app.errorhandler(PyMongoError)
    def database_unavailable(error: PyMongoError) -> Response:
        # What the driver says holds no password. It can run over pages, with a line for each server.
        said = " ".join(str(error).split())[:300]
        app.logger.warning("%s: database unavailable (%s: %s)", request.path, type(error).__name__, said)
        reply = _error_reply("database unavailable", 503)
        reply.headers["Retry-After"] = "1"
        return reply

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        status = error.code or 500
        reply = _error_reply(_ERRORS.get(status) or error.description or error.name, status)
        if status == 405:
            reply.headers["Allow"] = "GET, HEAD"
        return reply

    return app


def _document_reply(document: dict[str, Any] | None) -> Response:
    return _error_reply("no document", 404) if document is None else _json_reply(encode(document))


def _when_done(is_made: Callable[[], None], is_sent: Callable[[], None]) -> None:
    @after_this_request
    def made(reply: Response) -> Response:
        is_made()
        reply.call_on_close(is_sent)
        return reply


def _milliseconds(values: list[str]) -> int:
    if not values:
        return 1000
    text = values[0]
    if len(values) > 1 or not (text.isascii() and text.isdigit() and len(text) <= 5) or int(text) > _LONGEST_SLEEP_MS:
        raise BadRequest(f"ms must be an integer from 0 to {_LONGEST_SLEEP_MS}")
    return int(text)


def _json_reply(body: bytes, status: int = 200) -> Response:
    return Response(body, status, mimetype="application/json")


def _error_reply(text: str, status: int) -> Response:
    return _json_reply(b'{"error":"%s"}' % text.encode(), status)
