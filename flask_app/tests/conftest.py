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
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPMessage
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pymongo import MongoClient
from pymongo.database import Database

APP = Path(__file__).resolve().parent.parent
# Nothing listens there.
NO_DATABASE = "mongodb://127.0.0.1:1"
_SETTINGS = (
    *("HOST", "PORT", "WEB_CONCURRENCY", "THREADS", "WORKER_CONNECTIONS", "DB_TIMEOUT_MS", "ACCESS_LOG"),
    *("MONGODB_URI", "MONGODB_DATABASE", "MONGODB_MAX_POOL_SIZE"),
)

Document = dict[str, Any]


class Reply(NamedTuple):
    status: int
    body: bytes
    headers: HTTPMessage
    took_s: float


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


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment with ``settings`` in place of all that the service reads."""
    inherited = {name: value for name, value in os.environ.items() if name not in _SETTINGS}
    # gunicorn and uwsgi are beside the interpreter, which need not be on PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # One process starts sooner than one for each CPU, and is enough where the number does not matter.
    return {**inherited, "PATH": path, "MONGODB_URI": NO_DATABASE, "WEB_CONCURRENCY": "1", **settings}


class Server:
    """``python launch.py STACK``, started in a session of its own."""

    def __init__(self, stack: str, log: Path, **settings: str) -> None:
        self.stack = stack
        self.port = int(settings.setdefault("PORT", str(free_port())))
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(APP / "launch.py"), stack],
                # Another folder than the application's: nothing may depend on where it is typed.
                cwd=log.parent,
                env=environment(**settings),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def ask(self, path: str, method: str = "GET") -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        started = time.monotonic()
        try:
            connection.request(method, path)
            reply = connection.getresponse()
            return Reply(reply.status, reply.read(), reply.headers, time.monotonic() - started)
        finally:
            connection.close()

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.ask("/sleep?ms=0").body == b'{"slept_ms":0}'
        except (OSError, HTTPException):
            return False

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def stop(self) -> int:
        """Send SIGTERM and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def running(self) -> list[int]:
        """Return the processes of it that still run, workers included: those of its session."""
        there = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                *_, state_and_ids = (folder / "stat").read_text().rpartition(")")
                state, _, _, session = state_and_ids.split()[:4]
            except OSError:  # ended meanwhile
                continue
            if int(session) == self.process.pid and state != "Z":
                there.append(int(folder.name))
        return there

    def kill(self) -> None:
        for pid in self.running():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers, wait until they answer unless told otherwise, and leave none behind."""
    started: list[Server] = []

    def start_one(stack: str, ready: bool = True, **settings: str) -> Server:
        server = Server(stack, tmp_path / f"{len(started)}.log", **settings)
        started.append(server)
        if ready:
            until(server.answers, 20)
        return server

    yield start_one
    for server in started:
        server.kill()


@pytest.fixture(scope="session")
def mongodb_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    given, program = os.environ.get("MONGODB_URI"), shutil.which("mongod")
    if given:
        yield given
    elif program:
        yield from _mongod(program, tmp_path_factory.mktemp("mongod"))
    else:
        pytest.skip("no MongoDB: set MONGODB_URI, or put mongod on PATH")


def _mongod(program: str, folder: Path) -> Iterator[str]:
    port = free_port()
    command = [program, "--dbpath", str(folder), "--bind_ip", "127.0.0.1", "--port", str(port), "--nounixsocket"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        uri = f"mongodb://127.0.0.1:{port}"
        with MongoClient[Document](uri, serverSelectionTimeoutMS=30_000) as client:
            client.admin.command("ping")
        yield uri
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def articles(mongodb_uri: str) -> Iterator[Database[Document]]:
    """An empty database of this test's own."""
    with MongoClient[Document](mongodb_uri) as client:
        database = client[f"flask_app_test_{uuid.uuid4().hex[:12]}"]
        yield database
        client.drop_database(database.name)
