"""Started servers, and a MongoDB: the one of MONGODB_URI, or a ``mongod`` on PATH started for these tests alone."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from pymongo import MongoClient
from pymongo.database import Database

from database import Document

APP = Path(__file__).resolve().parent.parent
SCRIPTS = ("serve_motor.py", "serve_pymongo.py")
# Nothing listens there.
NO_DATABASE = "mongodb://127.0.0.1:1"
_SETTINGS = (
    *("HOST", "PORT", "WEB_CONCURRENCY", "THREADS", "WORKER_CONNECTIONS", "DB_TIMEOUT_MS", "ACCESS_LOG"),
    *("MONGODB_URI", "MONGODB_DATABASE", "MONGODB_MAX_POOL_SIZE"),
)


class Reply(NamedTuple):
    status: int
    body: bytes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], object], timeout_s: float = 10) -> float:
    """Wait until ``condition`` holds and return how long that took, in seconds."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + timeout_s, f"not within {timeout_s} s"
        time.sleep(0.02)
    return time.monotonic() - started


class Server:
    """A started script, in a session of its own."""

    def __init__(self, script: str, log: Path, port: int, settings: dict[str, str]) -> None:
        self.port = port
        self.log = log
        inherited = {name: value for name, value in os.environ.items() if name not in _SETTINGS}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(APP / script)],
                # Another folder than the application's: nothing may depend on where it is typed.
                cwd=log.parent,
                env={**inherited, "PORT": str(port), **settings},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def ask(self, path: str) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return Reply(reply.status, reply.read())
        finally:
            connection.close()

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.ask("/sleep?ms=0") == (200, b'{"slept_ms":0}')
        except (OSError, HTTPException):
            return False

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def accepted(self) -> int:
        """Return how many connections its workers hold."""
        return sum(
            connection.laddr.port == self.port and connection.status == psutil.CONN_ESTABLISHED
            for worker in self.workers()
            for connection in worker.net_connections("tcp")
        )

    def stop(self) -> int:
        """Send SIGTERM and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def is_gone(self) -> bool:
        """Return whether nothing of it runs any more, its workers included."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False


Start = Callable[..., Server]


@pytest.fixture(params=SCRIPTS)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Start servers, wait until they answer unless told otherwise, and leave none behind."""
    started: list[Server] = []

    def start_one(ready: bool = True, **settings: str) -> Server:
        settings = {"WEB_CONCURRENCY": "2", "MONGODB_URI": NO_DATABASE, **settings}
        server = Server(request.param, tmp_path / f"{len(started)}.log", free_port(), settings)
        started.append(server)
        if ready:
            until(server.answers)
        return server

    yield start_one
    for server in started:
        if not server.is_gone():
            os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()


class Mongod:
    """A mongod of the tests' own, which they may stop. ``query`` is how its administrator connects."""

    def __init__(self, program: str, folder: Path, *options: str, query: str = "") -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.uri = f"mongodb://{self.address}/{query}"
        self._folder = folder
        self._command = [program, "--dbpath", str(folder), "--port", str(self.port), "--nounixsocket", *options]
        self.start()

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            command = [*self._command, "--bind_ip", "127.0.0.1"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        with MongoClient[Document](self.uri, serverSelectionTimeoutMS=30_000) as client:
            client.admin.command("ping")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


StartMongod = Callable[..., Mongod]


@pytest.fixture(scope="session")
def start_mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartMongod]:
    program = shutil.which("mongod")
    if not program:
        pytest.skip("no mongod on PATH that these tests could stop and start")
    started: list[Mongod] = []

    def start_one(*options: str, query: str = "") -> Mongod:
        started.append(Mongod(program, tmp_path_factory.mktemp("mongod"), *options, query=query))
        return started[-1]

    yield start_one
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def own_mongod(start_mongod: StartMongod) -> Mongod:
    return start_mongod()


@pytest.fixture(scope="session")
def mongodb_uri(request: pytest.FixtureRequest) -> str:
    given = os.environ.get("MONGODB_URI")
    if given:
        return given
    if not shutil.which("mongod"):
        pytest.skip("no MongoDB: set MONGODB_URI, or put mongod on PATH")
    server: Mongod = request.getfixturevalue("own_mongod")
    return server.uri


@pytest.fixture
def stored(mongodb_uri: str) -> Iterator[Database[Document]]:
    """An empty database of this test's own."""
    with MongoClient[Document](mongodb_uri) as client:
        database = client[f"tornado_app_test_{uuid.uuid4().hex[:12]}"]
        yield database
        client.drop_database(database.name)
