"""The service: three small handlers, and every error as JSON."""

import asyncio
import re
from contextlib import suppress
from typing import Any

from pymongo.errors import PyMongoError
from tornado.httputil import HTTPServerRequest, ParseBodyConfig, ParseUrlEncodedConfig, set_parse_body_config
from tornado.iostream import StreamClosedError
from tornado.web import Application, HTTPError, RequestHandler

from database import Articles, Document
from extended_json import encode

LONGEST_SLEEP_S = 10
_MILLISECONDS = re.compile(rb"[0-9]{1,5}")
# RFC 3986, 6.2.2.2: a letter, digit, `-`, `.`, `_` or `~` means the same as its %XX.
_ESCAPED = re.compile("%(2[DE]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])", re.IGNORECASE)
# RFC 9112, 3.2.2: a target may begin with the address of the server.
_SERVER = re.compile("^https?://[^/?]*", re.IGNORECASE)
_ERRORS = {404: "not found", 405: "method not allowed", 500: "internal error", 503: "database unavailable"}


def make_app(articles: Articles, access_log: bool = False) -> Application:
    """Return the application that serves ``articles``."""
    settings: dict[str, Any] = {"default_handler_class": NotFound}
    if not access_log:
        settings["log_function"] = lambda _: None
    # How long a query may be is a matter of the head's length; tornado's limit of 1,000 fields is for forms.
    set_parse_body_config(ParseBodyConfig(urlencoded=ParseUrlEncodedConfig(max_arguments=100_000)))
    return Service(
        [
            ("/mongo", Article, {"articles": articles, "collection": "articles"}),
            ("/mongo_big", Article, {"articles": articles, "collection": "articles_big"}),
            ("/sleep", Sleep),
        ],
        **settings,
    )


class Service(Application):
    """Tornado's own, which would take each spelling of a path for another path."""

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        if "%" in request.path or request.path[:1] != "/":
            request.path = _ESCAPED.sub(lambda escaped: chr(int(escaped[1], 16)), _SERVER.sub("", request.path))
        # No path reads a body. Tornado would parse it by its type, and refuse what is malformed.
        request.headers.pop("Content-Type", None)
        return super().find_handler(request, **kwargs)


class Endpoint(RequestHandler):
    """What all paths share: JSON, HEAD, and how an error looks."""

    def set_default_headers(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.clear_header("Server")

    def compute_etag(self) -> None:
        """No ETag: it would be a hash of each body, for clients that send it back."""

    def prepare(self) -> None:
        # No path takes a body. Tornado has read it by now; a server that has not would run the handler too early.
        if self.request.method in ("GET", "HEAD") and "Transfer-Encoding" in self.request.headers:
            raise HTTPError(400)

    async def get(self) -> None:
        raise HTTPError(405)

    async def head(self) -> None:
        await self.get()

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> "asyncio.Future[None]":
        # A server that drains tells its clients not to send their next request here.
        connection: Any = self.request.connection
        if connection.params.no_keep_alive:
            self.set_header("Connection", "close")
        return super().finish(chunk)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if status_code == 405:
            self.set_header("Allow", "GET, HEAD")
        if status_code == 503:
            self.set_header("Retry-After", "1")
        self.fail(status_code, _ERRORS.get(status_code, self._reason.lower()))

    def fail(self, status: int, text: str) -> None:
        self.set_status(status)
        self.finish(b'{"error":"%s"}' % text.encode())


class Article(Endpoint):
    def initialize(self, articles: Articles, collection: str) -> None:
        self._articles = articles
        self._collection = collection

    async def get(self) -> None:
        try:
            await self._articles.first(self._collection, self.reply)
        except (PyMongoError, TimeoutError) as error:
            # What the driver says holds no password. It can run over pages, with a line for each server.
            raise HTTPError(503, "%s: %.300s", type(error).__name__, " ".join(str(error).split())) from None

    async def reply(self, document: Document | None) -> None:
        if document is None:
            self.fail(404, "no document")
            return
        sent = self.finish(encode(document))
        del document  # The bytes are enough while the client takes them.
        with suppress(StreamClosedError):
            await sent


class Sleep(Endpoint):
    async def get(self) -> None:
        values = self.request.query_arguments.get("ms", [b"1000"])
        if len(values) > 1 or not _MILLISECONDS.fullmatch(values[0]) or int(values[0]) > LONGEST_SLEEP_S * 1000:
            self.fail(400, f"ms must be an integer from 0 to {LONGEST_SLEEP_S * 1000}")
            return
        ms = int(values[0])
        await asyncio.sleep(ms / 1000)
        self.finish(b'{"slept_ms":%d}' % ms)


class NotFound(Endpoint):
    """Every other path, whatever the method."""

    def prepare(self) -> None:
        raise HTTPError(404)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        super().write_error(404, **kwargs)
