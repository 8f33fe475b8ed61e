"""The service on a real MongoDB. Each test has a database of its own, which it removes."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import bson
import pytest
from bson import DatetimeMS, ObjectId
from bson.raw_bson import RawBSONDocument
from conftest import Mongod, Start, until
from pymongo import MongoClient
from pymongo.database import Database

from database import Document

OID = ObjectId("53909ff6e4b0f0a1c2d3e401")


def test_what_is_stored_is_served(start: Start, mongodb_uri: str, stored: Database[Document]) -> None:
    server = start(MONGODB_URI=mongodb_uri, MONGODB_DATABASE=stored.name)
    assert server.ask("/mongo") == (404, b'{"error":"no document"}')
    stored["articles"].insert_one({"_id": OID, "title": "größe", "at": datetime(2014, 6, 1, 12, 0, 0, 123_000)})
    stored["articles_big"].insert_one({"_id": OID, "deep": {"list": [1, 2.5, None, True]}})
    with ThreadPoolExecutor(8) as clients:
        replies = list(clients.map(server.ask, ["/mongo", "/mongo_big"] * 20))
    assert {(reply.status, reply.body.decode()) for reply in replies} == {
        (200, f'{{"_id":{{"$oid":"{OID}"}},"title":"größe","at":{{"$date":"2014-06-01T12:00:00.123Z"}}}}'),
        (200, f'{{"_id":{{"$oid":"{OID}"}},"deep":{{"list":[1,2.5,null,true]}}}}'),
    }
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


def test_what_python_cannot_hold_is_still_a_document(
    start: Start, mongodb_uri: str, stored: Database[Document]
) -> None:
    raw = bson.encode({"_id": OID, "past": DatetimeMS(-(2**63)), "text": "??"}).replace(b"??", b"\xff\xfe")
    stored.get_collection("articles").insert_one(RawBSONDocument(raw))
    # The codec is the application's own: options of the URI that change how documents are decoded change nothing.
    separator = "&" if "?" in mongodb_uri else "/?"
    uri = f"{mongodb_uri}{separator}tz_aware=true&uuidRepresentation=standard&unicode_decode_error_handler=strict"
    server = start(MONGODB_URI=uri, MONGODB_DATABASE=stored.name)
    status, body = server.ask("/mongo")
    assert status == 200
    assert b'"past":{"$date":{"$numberLong":"-9223372036854775808"}}' in body
    assert body.decode().endswith('"text":"\ufffd\ufffd"}')


def test_each_request_is_one_find(start: Start, mongodb_uri: str, stored: Database[Document]) -> None:
    stored["articles"].insert_one({"_id": OID})
    server = start(MONGODB_URI=mongodb_uri, MONGODB_DATABASE=stored.name)
    server.ask("/mongo")
    before = finds(stored.client)
    for _ in range(10):
        assert server.ask("/mongo").status == 200
    assert finds(stored.client) - before == 10


def finds(client: MongoClient[Document]) -> int:
    return int(client.admin.command("serverStatus")["opcounters"]["query"])


@pytest.mark.parametrize("idle_s", [0, 4], ids=["at once", "when the driver knows"])
def test_a_frozen_database(start: Start, own_mongod: Mongod, idle_s: float) -> None:
    server = start(MONGODB_URI=own_mongod.uri, DB_TIMEOUT_MS="1500")
    until(lambda: server.ask("/mongo").status == 404)
    own_mongod.process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(idle_s)
        started = time.monotonic()
        with ThreadPoolExecutor(30) as clients:
            replies = list(clients.map(server.ask, ["/mongo"] * 30))
        assert {reply.status for reply in replies} == {503}
        assert time.monotonic() - started < 1.5 + 2.5
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 4
    finally:
        own_mongod.process.send_signal(signal.SIGCONT)


def test_a_database_that_goes_and_comes_back(start: Start, own_mongod: Mongod) -> None:
    server = start(MONGODB_URI=own_mongod.uri)
    until(lambda: server.ask("/mongo").status == 404)
    own_mongod.stop()
    try:
        for _ in range(2):
            started = time.monotonic()
            assert server.ask("/mongo").status == 503
            assert time.monotonic() - started < 2.5
    finally:
        own_mongod.start()
    started = time.monotonic()
    until(lambda: server.ask("/mongo").status == 404)
    assert time.monotonic() - started < 5
