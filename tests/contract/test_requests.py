"""docs/contract.md row by row, on every stack."""

import http.client
import json
import socket
import time

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from loadtests.stacks.server import Server
from shared.documents import Document, big, extended_json, small
from tests.conftest import log_of
from tests.harness.exchange import ask, finds

DOCUMENTS = {"/mongo": small(), "/mongo_big": big()}
COLLECTIONS = {"/mongo": "articles", "/mongo_big": "articles_big"}
NO_MILLISECONDS = ("", "-1", "+5", "1.0", "10001", "100000", "abc", "0x10", "1e3", "%D9%A1", "5%20", "1&ms=2")


@pytest.mark.parametrize("path", DOCUMENTS)
def test_document(server: Server, path: str) -> None:
    reply = ask(server, path)
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Content-Length"] == str(len(reply.body))
    assert reply.body == extended_json(DOCUMENTS[path])


def test_unrelated_query_is_ignored(server: Server) -> None:
    assert ask(server, "/mongo?x=1&ms=abc").body == extended_json(small())


@pytest.mark.parametrize(("query", "slept_ms"), [("", 1000), ("?ms=0", 0), ("?ms=250", 250), ("?x=1&ms=007", 7)])
def test_sleep(server: Server, query: str, slept_ms: int) -> None:
    reply = ask(server, f"/sleep{query}")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    assert json.loads(reply.body) == {"slept_ms": slept_ms}
    assert b" " not in reply.body
    # Timers may round down by a millisecond or so.
    assert reply.took_s >= slept_ms / 1000 - 0.005


@pytest.mark.parametrize("ms", NO_MILLISECONDS)
def test_sleep_refuses_what_is_no_number_of_milliseconds(server: Server, ms: str) -> None:
    reply = ask(server, f"/sleep?ms={ms}")
    assert (reply.status, reply.error) == (400, "ms must be an integer from 0 to 10000")
    assert reply.headers["Content-Type"] == "application/json"


def test_liveness_needs_no_database(server: Server, mongo: MongoClient[Document]) -> None:
    before = finds(mongo)
    assert ask(server, "/sleep?ms=0").status == 200
    assert finds(mongo) == before


@pytest.mark.parametrize("path", ["/mongo", "/mongo_big", "/sleep?ms=20", "/sleep?ms=x", "/nothing"])
def test_head_is_get_without_the_body(server: Server, path: str) -> None:
    get, head = ask(server, path), ask(server, path, "HEAD")
    assert head.status == get.status
    assert head.body == b""
    for name in ("Content-Type", "Content-Length"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/mongo", "/mongo_big", "/sleep"])
def test_another_method(server: Server, path: str, method: str) -> None:
    reply = ask(server, path, method)
    assert (reply.status, reply.error) == (405, "method not allowed")
    assert {name.strip() for name in reply.headers["Allow"].split(",")} == {"GET", "HEAD"}
    assert reply.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("path", ["/", "/mongo/", "/mongo//", "/MONGO", "/mongo_big/x", "/mongo%2F", "/favicon.ico"])
def test_another_path(server: Server, path: str) -> None:
    reply = ask(server, path)
    assert (reply.status, reply.error) == (404, "not found")
    assert reply.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("path", DOCUMENTS)
def test_no_document(server: Server, database: Database[Document], path: str) -> None:
    database[COLLECTIONS[path]].delete_many({})
    reply = ask(server, path)
    assert (reply.status, reply.error) == (404, "no document")


@pytest.mark.parametrize("path", DOCUMENTS)
def test_each_request_is_one_find_and_nothing_else(server: Server, mongo: MongoClient[Document], path: str) -> None:
    requests = 25
    ask(server, path)
    before, commands_before = finds(mongo), _other_reads(mongo)
    for _ in range(requests):
        assert ask(server, path).status == 200
    assert finds(mongo) - before == requests
    assert _other_reads(mongo) == commands_before


@pytest.mark.parametrize("path", DOCUMENTS)
def test_nothing_is_cached(server: Server, database: Database[Document], path: str) -> None:
    collection = database[COLLECTIONS[path]]
    for edition in range(12):
        collection.replace_one({}, {"edition": edition}, upsert=True)
        assert json.loads(ask(server, path).body)["edition"] == edition


@pytest.mark.stacks_that(applies=lambda stack: stack.keep_alive)
def test_connections_are_kept(server: Server) -> None:
    with socket.create_connection((server.host, server.port), timeout=10) as client:
        for _ in range(3):
            client.sendall(b"GET /sleep?ms=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert _read_until(client, b'{"slept_ms":0}')


def test_a_close_that_is_asked_for_is_done(server: Server) -> None:
    with socket.create_connection((server.host, server.port), timeout=10) as client:
        client.sendall(b"GET /sleep?ms=0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert _read_until(client, b'{"slept_ms":0}')
        started = time.monotonic()
        assert client.recv(1) == b""
        assert time.monotonic() - started < 1


def test_requests_are_not_logged_unless_asked_for(server: Server) -> None:
    marker = "?x=a-marker-for-the-access-log"
    ask(server, f"/mongo{marker}")
    assert marker not in log_of(server)


def test_no_banner_names_a_version(server: Server) -> None:
    for reply in (ask(server, "/mongo"), ask(server, "/nothing")):
        assert not any(character.isdigit() for character in reply.headers.get("Server", ""))
        assert "X-Powered-By" not in reply.headers


def _read_until(client: socket.socket, end: bytes) -> bool:
    data = b""
    while not data.endswith(end):
        more = client.recv(65536)
        if not more:
            return False
        data += more
    return True


def _other_reads(mongo: MongoClient[Document]) -> dict[str, int]:
    commands = mongo.admin.command("serverStatus")["metrics"]["commands"]
    return {name: int(commands[name]["total"]) for name in ("aggregate", "count", "distinct", "getMore", "killCursors")}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_body_of_unknown_length_reaches_no_handler(server: Server, mongo: MongoClient[Document], method: str) -> None:
    before = finds(mongo)
    connection = http.client.HTTPConnection(server.host, server.port, timeout=5)
    try:
        connection.request(method, "/mongo", iter([b"a body"]), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
        assert connection.getresponse().status == 400
    except ConnectionError:
        pass  # uWSGI's way to refuse what is no HTTP for it
    finally:
        connection.close()
    assert finds(mongo) == before
    assert ask(server, "/mongo").status == 200
