"""The service: three small handlers, and every error as JSON."""

import asyncio
import re
from typing import Any, cast

from pymongo.errors import PyMongoError
from tornado.http1connection import HTTP1Connection
from tornado.web import Application, HTTPError, RequestHandler

from database import Articles, Document
from extended_json import encode

LONGEST_SLEEP_S = 10
_MILLISECONDS = re.compile(rb"[0-9]{1,5}")
_ERRORS = {404: "not found", 405: "method not allowed", 500: "internal error", 503: "database unavailable"}


def make_app(articles: Articles, access_log: bool = False) -> Application:
    """Return the application that serves ``articles``."""
    settings: dict[str, Any] = {"default_handler_class": NotFound}
    if not access_log:
        settings["log_function"] = lambda _: None
    return Application(
        [
            ("/mongo", Mongo, {"articles": articles}),
            ("/mongo_big", MongoBig, {"articles": articles}),
            ("/sleep", Sleep),
        ],
        **settings,
    )


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
        if cast(HTTP1Connection, self.request.connection).params.no_keep_alive:
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


class DocumentEndpoint(Endpoint):
    def initialize(self, articles: Articles) -> None:
        self._articles = articles

    async def first(self, collection: str) -> Document | None:
        try:
            return await self._articles.first(collection)
        except (PyMongoError, TimeoutError) as error:
            # For the log, the name alone: the text of an error can run over pages, with a line for each server.
            raise HTTPError(503, "%s", type(error).__name__) from None

    def reply(self, document: Document | None) -> None:
        if document is None:
            self.fail(404, "no document")
        else:
            self.finish(encode(document))


class Mongo(DocumentEndpoint):
    async def get(self) -> None:
        self.reply(await self.first("articles"))


class MongoBig(DocumentEndpoint):
    async def get(self) -> None:
        self.reply(await self.first("articles_big"))


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
