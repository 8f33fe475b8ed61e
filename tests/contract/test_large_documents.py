"""Documents of 0.7 and 14 MB to many clients at once: they wait or are told so, and the memory has a bound."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from pymongo import MongoClient

from loadtests.measure.costs import pss_bytes
from loadtests.measure.observer import ask_once
from loadtests.results.counts import Observation, Outcome
from loadtests.stacks.catalogue import Stack
from loadtests.stacks.server import Server
from shared.documents import Document
from shared.mongod import Mongod
from tests.conftest import StartServer, log_of
from tests.harness.exchange import ask, wait_until_healthy

DATABASE = "articles_large"
# 0.7 MB of many small values, which take most memory for their size, and 14 MB, near MongoDB's limit of 16.
MANY_VALUES: Document = {"_id": 1, "rows": [{"n": n, "name": f"row {n}", "half": n / 2 + 0.25} for n in range(14_000)]}
LARGE: Document = {"_id": 2, "texts": [f"{n} " + "x" * 1000 for n in range(14_000)]}
PROCESSES = 2
# docs/contract.md, "Memory".
BYTES_EACH_PROCESS = 768 * 2**20
PAUSE_S = 8
# Those that share their code have the largest document to two clients only: it costs much CPU.
OF_AN_APP = ("uwsgi-threads", "tornado", "node", "play", "play-blocking")
_UNHARMED = {Outcome.OK, Outcome.STATUS_5XX}


@pytest.fixture(scope="session")
def large_database(database_server: Mongod) -> Iterator[str]:
    with MongoClient[Document](database_server.uri) as client:
        client[DATABASE]["articles"].insert_one(MANY_VALUES)
        client[DATABASE]["articles_big"].insert_one(LARGE)
        yield DATABASE
        client.drop_database(DATABASE)


def test_large_documents_to_many(
    stack: Stack, start_server: StartServer, database_server: Mongod, large_database: str
) -> None:
    settings = {"MONGODB_DATABASE": large_database, "DB_TIMEOUT_MS": "6000"}
    if stack.processes != "1":
        settings["WEB_CONCURRENCY"] = str(PROCESSES)
    with start_server(stack, uri=database_server.uri, **settings) as server:
        lengths = {}
        for path, document in (("/mongo", MANY_VALUES), ("/mongo_big", LARGE)):
            reply = ask(server, path)
            assert (reply.status, json.loads(reply.body)) == (200, document)
            lengths[path] = len(reply.body)
        processes = {process.pid for process in server.processes()}
        idle = memory_of(server)
        with _memory_watched(server) as peak, ThreadPoolExecutor(1) as beside:
            begun = threading.Event()
            pausing = beside.submit(_taken_after_a_pause, server, begun)
            assert begun.wait(20)
            for path, clients in (("/mongo", 200), ("/mongo_big", 50 if stack.name in OF_AN_APP else 2)):
                seen = ask_once(server.host, server.port, path, clients, timeout_s=40)
                assert _harmed(seen) == {}
                assert seen.outcomes[Outcome.OK]
            assert ask(server, "/sleep?ms=0").status == 200
            assert pausing.result() == lengths["/mongo_big"]
        assert {process.pid for process in server.processes()} == processes
        assert not re.search("OutOfMemory|Traceback|Killed", log_of(server))
        assert max(peak) - idle < BYTES_EACH_PROCESS * (PROCESSES if stack.processes != "1" else 1), max(peak) / 2**20
        wait_until_healthy(server, 5)


def memory_of(server: Server) -> int:
    """Return the bytes that all its processes have together, what they share counted once."""
    return sum(pss_bytes(process.pid) or 0 for process in server.processes())


def _harmed(seen: Observation) -> dict[Outcome, int]:
    return {outcome: count for outcome, count in seen.outcomes.items() if outcome not in _UNHARMED}


@contextmanager
def _memory_watched(server: Server) -> Iterator[list[int]]:
    """Give a list that grows by the memory of the server, in bytes, several times a second."""
    found: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            found.append(memory_of(server))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield found
    finally:
        over.set()
        watching.join()


def _taken_after_a_pause(server: Server, begun: threading.Event) -> int:
    """Ask for the largest document, begin to take the reply only after PAUSE_S, and return the bytes of its body."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.settimeout(20)
        connection.connect((server.host, server.port))
        connection.sendall(b"GET /mongo_big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head = connection.recv(4096)
        begun.set()
        time.sleep(PAUSE_S)
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        count = len(head.partition(b"\r\n\r\n")[2])
        while more := len(connection.recv(1_048_576)):
            count += more
        return count
