"""The service on a real MongoDB. Each test has a database of its own, which it removes."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import bson
import pytest
from bson import DatetimeMS, ObjectId
from bson.raw_bson import RawBSONDocument
from conftest import Mongod, Start, StartMongod, until
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from config import usable_memory
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
    server = start(MONGODB_URI=mongodb_uri, MONGODB_DATABASE=stored.name)
    status, body = server.ask("/mongo")
    assert status == 200
    assert b'"past":{"$date":{"$numberLong":"-9223372036854775808"}}' in body
    assert body.decode().endswith('"text":"\ufffd\ufffd"}')


def test_a_large_document_under_many_clients(start: Start, mongodb_uri: str, stored: Database[Document]) -> None:
    """README.md has the bound: 100 MB, the memory for documents, and 20 times the one that is being decoded."""
    # Few large texts: many small ones, which take 20 times their bytes, keep two cores busy for half a minute.
    stored["articles"].insert_one({"_id": OID, "list": [{"n": n, "text": "x" * 10_000} for n in range(1400)]})
    server = start(MONGODB_URI=mongodb_uri, MONGODB_DATABASE=stored.name, DB_TIMEOUT_MS="6000")
    size = len(server.ask("/mongo").body)
    assert size > 13_000_000
    # A client that reads nothing has its reply when it goes on.
    slow = server.connect()
    slow.sendall(b"GET /mongo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    # More clients that go away than the memory holds documents, by far on most machines, leave none of it taken.
    for _ in range(20):
        with server.connect() as gone:
            gone.sendall(b"GET /mongo HTTP/1.1\r\nHost: a\r\n\r\n")
    with ThreadPoolExecutor(24) as clients:
        replies = list(clients.map(lambda _: server.ask("/mongo"), range(24)))
    assert {(reply.status, len(reply.body)) for reply in replies} <= {(200, size), (503, 32)}
    until(lambda: server.ask("/mongo").status == 200)
    used = max(worker.memory_info().rss for worker in server.workers())
    assert used < 100e6 + usable_memory() / 32 / 2 + 20 * 14e6
    assert len(b"".join(iter(lambda: slow.recv(1 << 20), b""))) > size


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


@pytest.fixture(scope="module")
def replica_set(start_mongod: StartMongod) -> Iterator[Mongod]:
    """A replica set of one member, in which finds take 2.4 s."""
    options = ("--replSet", "rs", "--setParameter", "enableTestCommands=1")
    server = start_mongod(*options, query="?directConnection=true")
    with MongoClient[Document](server.uri) as client:
        members = [{"_id": 0, "host": server.address}]
        client.admin.command("replSetInitiate", {"_id": "rs", "members": members})
        until(lambda: client.admin.command("hello")["isWritablePrimary"], 20)
        client["articles"]["articles"].insert_one({"_id": OID})
        slow = {"failCommands": ["find"], "blockConnection": True, "blockTimeMS": 2400}
        client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=slow)
        yield server


@pytest.mark.parametrize(("preference", "status"), [("primary", 200), ("nearest", 200), ("secondary", 503)])
def test_a_find_has_its_time_where_a_server_may_answer_it(
    start: Start, replica_set: Mongod, preference: str, status: int
) -> None:
    # At once, and again when the driver has looked around.
    server = start(MONGODB_URI=f"mongodb://{replica_set.address}/?replicaSet=rs&readPreference={preference}")
    for _ in range(2):
        started = time.monotonic()
        assert server.ask("/mongo").status == status
        took_s = time.monotonic() - started
        assert took_s >= 2.4 if status == 200 else took_s < 2.5


def test_a_set_without_a_primary_answers_who_takes_less(start: Start, replica_set: Mongod) -> None:
    with MongoClient[Document](replica_set.uri) as client:
        with suppress(PyMongoError):
            client.admin.command("replSetStepDown", 60, force=True)
        until(lambda: client.admin.command("hello")["secondary"], 20)
    preferred = start(MONGODB_URI=f"mongodb://{replica_set.address}/?replicaSet=rs&readPreference=secondaryPreferred")
    primary = start(MONGODB_URI=f"mongodb://{replica_set.address}/?replicaSet=rs")
    for server, status in ((preferred, 200), (primary, 503)):
        started = time.monotonic()
        assert server.ask("/mongo").status == status
        took_s = time.monotonic() - started
        assert took_s >= 2.4 if status == 200 else took_s < 2.5


@pytest.fixture(scope="module")
def guarded(start_mongod: StartMongod, tmp_path_factory: pytest.TempPathFactory) -> tuple[Mongod, Path]:
    """A mongod with TLS, and a user that knows SCRAM-SHA-256 only; and the file with its certificate."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl on PATH to make a certificate with")
    pem = tmp_path_factory.mktemp("tls") / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(pem), "-out", f"{pem}.crt"]
    subprocess.run([*command, *names], check=True, capture_output=True)
    pem.write_text(pem.read_text() + Path(f"{pem}.crt").read_text())
    tls = ("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(pem))
    server = start_mongod("--auth", *tls, query="?tls=true&tlsInsecure=true")
    with MongoClient[Document](server.uri) as client:
        user = {"createUser": "reader", "pwd": "a-password", "roles": ["root"], "mechanisms": ["SCRAM-SHA-256"]}
        client.admin.command(user)
    return server, Path(f"{pem}.crt")


@pytest.mark.parametrize(
    ("user", "query", "says"),
    [
        ("reader:a-password", "tlsCAFile={ca}&authSource=admin", ""),
        ("reader:a-password", "tls=true&tlsAllowInvalidCertificates=true&authSource=admin", ""),
        ("reader:a-password", "tlsInsecure=true&tls=true&authMechanism=SCRAM-SHA-256&authSource=admin", ""),
        ("reader:a-password", "tls=true&authSource=admin", "certificate verify failed"),
        ("reader:another-password", "tlsCAFile={ca}&authSource=admin", "Authentication failed"),
        ("reader:a-password", "tlsCAFile={ca}", "Authentication failed"),
        ("reader:a-password", "tlsCAFile={ca}&authSource=admin&replicaSet=rs", "replica"),
    ],
)
def test_tls_and_users(start: Start, guarded: tuple[Mongod, Path], user: str, query: str, says: str) -> None:
    mongod, ca = guarded
    server = start(MONGODB_URI=f"mongodb://{user}@{mongod.address}/mine?{query.format(ca=ca)}")
    assert server.ask("/mongo").status == (503 if says else 404)
    log = server.log.read_text()
    assert says in log
    assert "-password" not in log
