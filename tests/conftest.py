"""Really started servers on a really started mongod; every test of the contract takes the stack as a parameter."""

import os
import resource
import signal
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from loadtests.settings import words
from loadtests.stacks import toolchain
from loadtests.stacks.catalogue import App, Stack, stacks
from loadtests.stacks.processes import die_with_parent
from loadtests.stacks.server import Server
from shared import mongod
from shared.documents import Document
from shared.mongod import Mongod, free_port
from shared.seed import seed
from shared.system_packages import Unavailable, require
from tests.harness.side_by_side import pytest_collection_modifyitems, pytest_runtest_protocol, pytest_terminal_summary

__all__ = ["pytest_collection_modifyitems", "pytest_runtest_protocol", "pytest_terminal_summary"]

IN_CI = bool(os.environ.get("CI"))

# A server with everything of it; tests that need another setting or another database start their own.
StartServer = Callable[..., AbstractContextManager[Server]]


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


LOOPBACKS = ["127.0.0.1", *(["::1"] if _has_ipv6() else [])]


def chosen_stacks() -> list[Stack]:
    chosen = words("STACKS")
    return [stack for name, stack in stacks().items() if not chosen or name in chosen]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for ``stack`` every one, or those that its marker ``stacks_that`` lets through."""
    if "stack" in metafunc.fixturenames:
        applies = [marker.kwargs["applies"] for marker in metafunc.definition.iter_markers("stacks_that")]
        found = [stack for stack in chosen_stacks() if all(each(stack) for each in applies)]
        metafunc.parametrize("stack", found, ids=[stack.name for stack in found], scope="session", indirect=True)


@pytest.fixture(scope="session", autouse=True)
def jvms_of_a_short_life() -> None:
    """Leave out a JVM's second compiler: whoever lives for some seconds pays for it and gains nothing."""
    os.environ.setdefault("JAVA_OPTS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")


@pytest.fixture(scope="session", autouse=True)
def signals_as_in_a_terminal() -> None:
    """Let servers hear SIGINT and SIGHUP under ``nohup`` too: what is ignored here would be ignored by them."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            # A handler, unlike SIG_DFL, lets these tests go on and is not inherited.
            signal.signal(number, lambda *_: None)


@contextmanager
def skipped_without_its_tools() -> Iterator[None]:
    """Skip by name with the reason what lacks a tool; in CI, which installs everything, that is a failure."""
    try:
        yield
    except Unavailable as reason:
        if IN_CI:
            raise
        pytest.skip(str(reason))


def prepared(app: App, prepare: Callable[[App], None] = toolchain.prepare) -> None:
    """Set ``app`` up."""
    with skipped_without_its_tools():
        prepare(app)


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Stack:
    prepared(request.param.app)
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def wrk() -> None:
    with skipped_without_its_tools():
        require(["wrk"])


@pytest.fixture(scope="session", autouse=True)
def many_open_files() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@pytest.fixture(scope="session")
def database_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A mongod for this run alone, or this worker of it, with failpoints."""
    server = mongod.start(tmp_path_factory.mktemp("mongod"), free_port(), within=die_with_parent("KILL"))
    yield server
    mongod.stop(server)


@pytest.fixture(scope="session")
def mongo(database_server: Mongod) -> Iterator[MongoClient[Document]]:
    client: MongoClient[Document] = MongoClient(database_server.uri, tz_aware=True)
    with client:
        yield client


@pytest.fixture
def database(mongo: MongoClient[Document], server: Server) -> Iterator[Database[Document]]:
    """The database that ``server`` reads; it holds the fixtures again after the test."""
    own: Database[Document] = mongo[server.database]  # type: ignore[attr-defined]
    yield own
    own.client.drop_database(own.name)
    seed(_address(own.client), own.name)


@pytest.fixture(scope="session")
def start_server(database_server: Mongod, tmp_path_factory: pytest.TempPathFactory) -> StartServer:
    """Start a stack: on the run's mongod with a seeded database of its own, unless ``uri`` names another."""

    @contextmanager
    def start(stack: Stack, uri: str | None = None, **settings: str) -> Iterator[Server]:
        name = f"articles_{uuid.uuid4().hex[:12]}"
        log = tmp_path_factory.mktemp(stack.name) / "server.log"
        if uri is None:
            seed(database_server.uri, name)
        server = Server(stack, uri or database_server.uri, free_port(), {"MONGODB_DATABASE": name, **settings}, log=log)
        server.database = settings.get("MONGODB_DATABASE", name)  # type: ignore[attr-defined]
        with server:
            yield server

    return start


@pytest.fixture(scope="session")
def server(stack: Stack, start_server: StartServer) -> Iterator[Server]:
    """The stack with its defaults, started once for all tests that leave it as it is."""
    with start_server(stack) as started:
        yield started


def _address(client: MongoClient[Document]) -> str:
    address: Any = client.address
    return f"mongodb://{address[0]}:{address[1]}"


def log_of(server: Server) -> str:
    """Return what the server has written so far."""
    return Path(str(server.log)).read_text(errors="replace")
