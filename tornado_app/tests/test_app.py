"""The handlers, with articles that need no database."""

import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.testing import AsyncHTTPTestCase
from tornado.web import Application

from app import make_app
from database import Articles, Document


class StoredArticles(Articles):
    """Collections by name; an exception in place of a document is raised."""

    def __init__(self, **collections: Any) -> None:
        self.collections = collections

    async def first(self, collection: str, reply: Callable[[Document | None], Awaitable[None]]) -> None:
        found = self.collections.get(collection)
        if isinstance(found, Exception):
            raise found
        await reply(found)


class _ServedApp(AsyncHTTPTestCase):
    articles = StoredArticles(articles={"title": "größe"}, articles_big={"at": datetime(2014, 6, 1)})
    access_log = False

    def get_app(self) -> Application:
        return make_app(self.articles, self.access_log)

    def ask(self, path: str, method: str = "GET", **options: Any) -> HTTPResponse:
        return self.fetch(path, method=method, allow_nonstandard_methods=True, **options)

    def get_http_client(self) -> AsyncHTTPClient:
        return AsyncHTTPClient(force_instance=True)

    def assert_error(self, reply: HTTPResponse, status: int, text: str) -> None:
        assert (reply.code, reply.body) == (status, f'{{"error":"{text}"}}'.encode())
        assert reply.headers["Content-Type"] == "application/json"


class ContractTest(_ServedApp):
    def test_documents(self) -> None:
        reply = self.ask("/mongo")
        assert (reply.code, reply.body.decode()) == (200, '{"title":"größe"}')
        # The test's client asks for the close.
        assert set(reply.headers) == {"Content-Type", "Content-Length", "Date", "Connection"}
        assert reply.headers["Content-Type"] == "application/json"
        assert self.ask("/mongo_big?any=thing").body == b'{"at":{"$date":"2014-06-01T00:00:00Z"}}'

    def test_sleep(self) -> None:
        assert self.ask("/sleep?ms=0").body == b'{"slept_ms":0}'
        assert self.ask("/sleep?x=1&ms=00030").body == b'{"slept_ms":30}'
        started = time.monotonic()
        assert self.ask("/sleep").body == b'{"slept_ms":1000}'
        assert time.monotonic() - started >= 0.99

    def test_sleep_refuses_what_is_no_number_of_milliseconds(self) -> None:
        for ms in ("", "-1", "+5", "1.0", "10001", "100000", "abc", "%D9%A1", "%ff", "5%20", "5%0A", "1&ms=1"):
            with self.subTest(ms=ms):
                self.assert_error(self.ask(f"/sleep?ms={ms}"), 400, "ms must be an integer from 0 to 10000")
        self.assert_error(self.ask("/sleep?ms"), 400, "ms must be an integer from 0 to 10000")

    def test_head_is_get_without_the_body(self) -> None:
        for path in ("/mongo", "/mongo_big", "/sleep?ms=1", "/sleep?ms=x", "/nothing"):
            with self.subTest(path=path):
                get, head = self.ask(path), self.ask(path, "HEAD")
                assert (head.code, head.body) == (get.code, b"")
                assert head.headers["Content-Length"] == str(len(get.body))

    def test_another_method(self) -> None:
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"):
            with self.subTest(method=method):
                reply = self.ask("/mongo", method, body="x" if method == "POST" else None)
                self.assert_error(reply, 405, "method not allowed")
                assert reply.headers["Allow"] == "GET, HEAD"

    def test_another_path(self) -> None:
        for path in ("/", "/mongo/", "/MONGO", "//mongo", "/mongo%2F", "/%256Dongo", "/mongo_big/x"):
            for method in ("GET", "POST", "BREW"):
                with self.subTest(path=path, method=method):
                    self.assert_error(self.ask(path, method), 404, "not found")

    def test_another_spelling_of_a_path(self) -> None:
        for path in ("/%6Dongo", "/mongo%5fbig", "/%6d%6F%6E%67%6f?x=%00"):
            with self.subTest(path=path):
                assert self.ask(path).code == 200

    def test_only_an_ampersand_separates_what_a_query_asks(self) -> None:
        assert self.ask("/sleep?%6Ds=0&x=1;ms=9").body == b'{"slept_ms":0}'
        self.assert_error(self.ask("/sleep?ms=0;x=1"), 400, "ms must be an integer from 0 to 10000")
        assert self.ask("/sleep?" + "x&" * 7000 + "ms=0").body == b'{"slept_ms":0}'

    def test_a_body_is_not_looked_into(self) -> None:
        for path, status in (("/mongo", 405), ("/nothing", 404)):
            for kind in ("multipart/form-data", "application/x-www-form-urlencoded; charset=x", "/;;"):
                with self.subTest(path=path, kind=kind):
                    assert self.ask(path, "POST", body="%%", headers={"Content-Type": kind}).code == status
        assert self.ask("/mongo", body="x", headers={"Content-Type": "multipart/form-data"}).code == 200

    def test_an_etag_is_neither_sent_nor_compared(self) -> None:
        reply = self.ask("/mongo", headers={"If-None-Match": "*"})
        assert reply.code == 200
        assert "Etag" not in reply.headers


class EmptyDatabaseTest(_ServedApp):
    articles = StoredArticles()

    def test_no_document(self) -> None:
        self.assert_error(self.ask("/mongo"), 404, "no document")
        self.assert_error(self.ask("/mongo_big"), 404, "no document")


class FailingDatabaseTest(_ServedApp):
    articles = StoredArticles(articles_big=RuntimeError("a bug with a-secret"))

    @pytest.fixture(autouse=True)
    def _log(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog

    def test_every_error_of_the_driver_is_503_and_one_line_in_the_log(self) -> None:
        for error in (ServerSelectionTimeoutError("no\nserver" * 999), OperationFailure("no", 50), TimeoutError("no")):
            with self.subTest(error=error):
                self.caplog.clear()
                self.articles.collections["articles"] = error
                reply = self.ask("/mongo")
                self.assert_error(reply, 503, "database unavailable")
                assert reply.headers["Retry-After"] == "1"
                assert [record.levelno for record in self.caplog.records] == [logging.WARNING]
                assert f"{type(error).__name__}: no" in self.caplog.text
                assert len(self.caplog.text) < 500
                assert "Traceback" not in self.caplog.text

    def test_a_bug_has_its_trace_in_the_log_alone(self) -> None:
        self.assert_error(self.ask("/mongo_big"), 500, "internal error")
        assert "a bug with a-secret" in self.caplog.text
        assert "Traceback" in self.caplog.text


@pytest.mark.parametrize("access_log", [False, True])
def test_access_log_only_when_asked_for(access_log: bool, caplog: pytest.LogCaptureFixture) -> None:
    class LoggedTest(_ServedApp):
        def runTest(self) -> None:
            self.ask("/mongo?x=a-marker")
            self.ask("/nothing?x=a-marker")

    LoggedTest.access_log = access_log
    with caplog.at_level(logging.INFO):
        result = LoggedTest().run()
    assert result is not None
    assert result.wasSuccessful()
    assert caplog.text.count("a-marker") == (2 if access_log else 0)
