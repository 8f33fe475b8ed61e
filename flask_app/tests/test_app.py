"""The handlers through Flask's test client, with articles that need no database."""

import logging
from datetime import datetime
from typing import Any

import pytest
from flask.testing import FlaskClient
from pymongo.errors import AutoReconnect, NetworkTimeout, OperationFailure, ServerSelectionTimeoutError
from werkzeug.test import TestResponse

from app import create_app
from database import Articles, WhenDone


class StoredArticles(Articles):
    """Collections by name; an exception in place of a document is raised."""

    def __init__(self, **collections: Any) -> None:
        self.collections = collections

    def first(self, collection: str, when_done: WhenDone) -> Any:
        found = self.collections.get(collection)
        if isinstance(found, Exception):
            raise found
        return found


def client_of(**collections: Any) -> FlaskClient:
    return create_app(StoredArticles(**collections)).test_client()


@pytest.fixture
def client() -> FlaskClient:
    return client_of(articles={"title": "größe"}, articles_big={"at": datetime(2014, 6, 1)})


def assert_error(reply: TestResponse, status: int, text: str) -> None:
    assert (reply.status_code, reply.data) == (status, f'{{"error":"{text}"}}'.encode())
    assert reply.headers["Content-Type"] == "application/json"


def test_documents(client: FlaskClient) -> None:
    reply = client.get("/mongo")
    assert (reply.status_code, reply.data.decode()) == (200, '{"title":"größe"}')
    assert dict(reply.headers) == {"Content-Type": "application/json", "Content-Length": "19"}
    assert client.get("/mongo_big?any=thing").data == b'{"at":{"$date":"2014-06-01T00:00:00Z"}}'


def test_no_document() -> None:
    assert_error(client_of().get("/mongo"), 404, "no document")
    assert_error(client_of(articles={}).get("/mongo_big"), 404, "no document")


def test_an_empty_document_is_a_document() -> None:
    assert client_of(articles={}).get("/mongo").data == b"{}"


@pytest.mark.parametrize(
    ("query", "slept_ms"), [("", 1000), ("?other=1", 1000), ("?ms=0", 0), ("?x=1&ms=00030", 30), ("?ms=10000", 10_000)]
)
def test_sleep(client: FlaskClient, monkeypatch: pytest.MonkeyPatch, query: str, slept_ms: int) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    assert client.get(f"/sleep{query}").data == b'{"slept_ms":%d}' % slept_ms
    assert client.head(f"/sleep{query}").status_code == 200
    assert slept == [slept_ms / 1000] * 2


@pytest.mark.parametrize(
    "query",
    [
        "ms",
        *(
            f"ms={ms}"
            for ms in ("", "-1", "+5", "1.0", "10001", "000001", "abc", "%D9%A1", "%ff", "5%20", "5%0A", "1&ms=1")
        ),
    ],
)
def test_sleep_refuses_what_is_no_number_of_milliseconds(client: FlaskClient, query: str) -> None:
    assert_error(client.get(f"/sleep?{query}"), 400, "ms must be an integer from 0 to 10000")


@pytest.mark.parametrize("path", ["/mongo", "/mongo_big", "/sleep?ms=1", "/sleep?ms=x", "/nothing"])
def test_head_is_get_without_the_body(client: FlaskClient, path: str) -> None:
    get, head = client.get(path), client.head(path)
    assert (head.status_code, head.data) == (get.status_code, b"")
    assert head.headers == get.headers
    assert head.headers["Content-Length"] == str(len(get.data))


@pytest.mark.parametrize("path", ["/mongo", "/mongo_big", "/sleep"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_another_method(client: FlaskClient, path: str, method: str) -> None:
    reply = client.open(path, method=method)
    assert_error(reply, 405, "method not allowed")
    assert reply.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path", ["", "/", "/mongo/", "/MONGO", "//mongo", "///mongo", "mongo", "*", "/mongo_big/x", "/mongo//x", "/mongo;x"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "BREW"])
def test_another_path(client: FlaskClient, path: str, method: str) -> None:
    # As a server hands it on. The test client would take what is before the second slash of `//mongo` for a host.
    reply = client.open("/", method=method, environ_overrides={"PATH_INFO": path})
    assert_error(reply, 404, "not found")


@pytest.mark.parametrize(
    "error",
    [
        ServerSelectionTimeoutError("No servers found yet"),
        NetworkTimeout("db:27017"),
        AutoReconnect("db:27017"),
        OperationFailure("no such thing", 50),
    ],
)
def test_every_error_of_the_driver_is_503_and_one_line_in_the_log(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    reply = client_of(articles=error).get("/mongo")
    assert_error(reply, 503, "database unavailable")
    assert reply.headers["Retry-After"] == "1"
    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)
    assert record.getMessage() == f"/mongo: database unavailable ({type(error).__name__}: {error})"


def test_what_the_driver_says_is_one_line_of_bounded_length(caplog: pytest.LogCaptureFixture) -> None:
    client_of(articles=ServerSelectionTimeoutError("db:27017\n" * 1000)).get("/mongo")
    assert len(caplog.records[0].getMessage()) < 400
    assert "\n" not in caplog.records[0].getMessage()


def test_a_bug_has_its_trace_in_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    reply = client_of(articles=RuntimeError("a bug with a-secret")).get("/mongo")
    assert_error(reply, 500, "internal error")
    assert "a bug with a-secret" in caplog.text
    assert "Traceback" in caplog.text


def test_a_document_that_cannot_be_encoded_is_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    assert_error(client_of(articles={"v": object()}).get("/mongo"), 500, "internal error")
    assert "Traceback" in caplog.text
