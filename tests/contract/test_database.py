"""The database gone, back, slow, frozen and failing, on every stack; and the project's own mongod and seeding."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from bson import Int64
from pymongo import MongoClient

from loadtests.settings import ROOT
from loadtests.stacks.catalogue import Stack
from loadtests.stacks.server import Server
from shared import mongod
from shared.documents import Document, big, small
from shared.mongod import Mongod, free_port
from shared.seed import NotSeeded, seed
from shared.system_packages import Unavailable
from tests.conftest import StartServer, log_of
from tests.harness.exchange import Reply, ask, finds, wait_until

# What docs/contract.md promises, and a second for a machine that is busy with other tests.
DOWN_WITHIN_S = 2.5 + 1
BACK_WITHIN_S = 5 + 1


def mongods_of(home: Path) -> list[int]:
    """Return the process ids of every mongod on the data of ``home``, whoever knows of it."""
    found = psutil.process_iter(["cmdline"])
    return [each.pid for each in found if str(home / "data") in (each.info["cmdline"] or [])]


@contextmanager
def failing(mongo: MongoClient[Document], **data: Any) -> Iterator[None]:
    """Make mongod fail every find inside the block."""
    of_finds = {"failCommands": ["find"], **data}
    mongo.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=of_finds)
    try:
        yield
    finally:
        mongo.admin.command("configureFailPoint", "failCommand", mode="off")


def is_unavailable(reply: Reply) -> bool:
    return (reply.status, reply.headers["Retry-After"], reply.error) == (503, "1", "database unavailable")


def test_the_database_is_late_dies_comes_back_and_freezes(
    stack: Stack, start_server: StartServer, tmp_path: Path
) -> None:
    port = free_port()
    settings = {"MONGODB_DATABASE": "articles", "DB_TIMEOUT_MS": "1000"}
    with (
        start_server(stack, uri=f"mongodb://127.0.0.1:{port}", **settings) as server,
        _a_mongod(tmp_path, port) as start,
    ):
        _is_told_within(server, DOWN_WITHIN_S)
        first = start()
        seed(first.uri, "articles")
        wait_until(lambda: ask(server, "/mongo").status == 200, BACK_WITHIN_S, "healthy once the database is there")

        os.killpg(first.pid, signal.SIGKILL)
        wait_until(lambda: mongod.running(tmp_path) is None, 5, "mongod gone")
        _is_told_within(server, DOWN_WITHIN_S)
        assert ask(server, "/sleep?ms=0").status == 200
        second = start()
        wait_until(lambda: ask(server, "/mongo").status == 200, BACK_WITHIN_S, "healthy once it is back")

        os.killpg(second.pid, signal.SIGSTOP)
        try:
            _is_told_within(server, 1 + DOWN_WITHIN_S)
        finally:
            os.killpg(second.pid, signal.SIGCONT)
        wait_until(lambda: ask(server, "/mongo").status == 200, BACK_WITHIN_S, "healthy once it runs on")
        assert "Traceback" not in log_of(server)


def _is_told_within(server: Server, seconds: float) -> None:
    for path in ("/mongo", "/mongo_big"):
        reply = ask(server, path)
        assert is_unavailable(reply)
        assert reply.took_s < seconds


@contextmanager
def _a_mongod(home: Path, port: int) -> Iterator[Callable[[], Mongod]]:
    """Give a function that starts a mongod on ``port``; what runs at the end of the block is stopped."""
    try:
        yield lambda: mongod.start(home, port)
    finally:
        left = mongod.running(home)
        if left:
            mongod.stop(left)


@pytest.fixture(scope="session")
def hasty_server(stack: Stack, start_server: StartServer, database_server: Mongod, mongo: MongoClient[Document]) -> Any:
    """The stack with a short DB_TIMEOUT_MS."""
    name = f"articles_hasty_{stack.name.replace('-', '_')}"
    seed(database_server.uri, name)
    with start_server(stack, uri=database_server.uri, MONGODB_DATABASE=name, DB_TIMEOUT_MS="1000") as server:
        assert ask(server, "/mongo").status == 200
        yield server
    mongo.drop_database(name)


def test_operations_that_fail(hasty_server: Server, mongo: MongoClient[Document]) -> None:
    with failing(mongo, errorCode=50):
        reply = ask(hasty_server, "/mongo")
        assert is_unavailable(reply)
        assert reply.took_s < DOWN_WITHIN_S
    wait_until(lambda: ask(hasty_server, "/mongo").status == 200, BACK_WITHIN_S, "healthy again after errors")

    with failing(mongo, blockConnection=True, blockTimeMS=4000):
        reply = ask(hasty_server, "/mongo")
        assert is_unavailable(reply)
        assert reply.took_s < 1 + DOWN_WITHIN_S
    wait_until(lambda: ask(hasty_server, "/mongo").status == 200, BACK_WITHIN_S, "healthy again after slow finds")

    with failing(mongo, closeConnection=True):
        assert is_unavailable(ask(hasty_server, "/mongo"))
    wait_until(lambda: ask(hasty_server, "/mongo").status == 200, BACK_WITHIN_S, "healthy again after drops")

    assert "Traceback" not in log_of(hasty_server)


def test_slow_finds_are_answered_side_by_side(hasty_server: Server, mongo: MongoClient[Document]) -> None:
    clients = 2 if hasty_server.stack.model == "processes" else 8
    with failing(mongo, blockConnection=True, blockTimeMS=300), ThreadPoolExecutor(clients) as pool:
        before = finds(mongo)
        replies = list(pool.map(lambda _: ask(hasty_server, "/mongo"), range(clients)))
    assert [reply.status for reply in replies] == [200] * clients
    assert finds(mongo) - before == clients
    # One after the other they would take clients x 0.3 s.
    assert max(reply.took_s for reply in replies) < 0.3 * clients or clients < 4


class TestSeeding:
    def test_is_idempotent(self, mongo: MongoClient[Document], database_server: Mongod) -> None:
        mongo.drop_database("articles_seeding")
        assert [seed(database_server.uri, "articles_seeding") for _ in range(2)] == [2, 0]
        assert list(mongo["articles_seeding"]["articles"].find()) == [small()]
        assert list(mongo["articles_seeding"]["articles_big"].find()) == [big()]

    def test_never_writes_over_or_beside_other_documents(
        self, mongo: MongoClient[Document], database_server: Mongod
    ) -> None:
        mongo.drop_database("articles_of_others")
        others = mongo["articles_of_others"]
        others["articles_big"].insert_one({"_id": 1, "mine": True})
        with pytest.raises(NotSeeded, match="nothing was written"):
            seed(database_server.uri, "articles_of_others")
        assert others.list_collection_names() == ["articles_big"]
        assert list(others["articles_big"].find()) == [{"_id": 1, "mine": True}]

    def test_the_big_document_is_big(self, mongo: MongoClient[Document], database_server: Mongod) -> None:
        seed(database_server.uri, "articles_seeding")
        size = mongo["articles_seeding"].command("collStats", "articles_big")["size"]
        assert 6000 <= size <= 10_000
        assert len(big()) >= 200
        assert big() == big()
        kinds = {type(value) for value in big().values()}
        assert {str, int, Int64, float, bool, type(None), dict, list} <= kinds


class TestOwnMongod:
    @pytest.fixture
    def home(self, tmp_path: Path) -> Iterator[Path]:
        yield tmp_path / "größe und ü" / "mongodb"
        mongod.remove(tmp_path / "größe und ü" / "mongodb")

    def test_is_found_again_whatever_the_clock_says_and_started_again_when_killed(self, home: Path) -> None:
        first = mongod.ensure_running(home)
        # What a clock that is set does to every time that is told as one of the day.
        with pytest.MonkeyPatch.context() as clock:
            clock.setattr(psutil.Process, "create_time", lambda _: 0.0)
            clock.setattr(time, "time", lambda: 0.0)
            assert mongod.running(home) == mongod.ensure_running(home) == first
        os.killpg(first.pid, signal.SIGKILL)
        wait_until(lambda: mongod.running(home) is None, 5, "mongod gone")
        again = mongod.ensure_running(home)
        assert again.pid != first.pid
        assert mongod.stop_running(home) == again
        assert mongod.running(home) is None

    def test_starts_and_stops_that_are_killed_half_way_are_healed(self, home: Path) -> None:
        for begun in ("ensure_running", "stop_running"):
            for after_s in (0.1, 0.25, 0.5):
                if begun == "stop_running":
                    mongod.ensure_running(home)
                code = f"import pathlib; from shared import mongod; mongod.{begun}(pathlib.Path({str(home)!r}))"
                half = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
                time.sleep(after_s)
                half.kill()
                half.wait()
                with ThreadPoolExecutor(2) as at_once:
                    found = {each.result() for each in [at_once.submit(mongod.ensure_running, home) for _ in range(2)]}
                assert found == {mongod.running(home)}
        mongod.stop_running(home)
        assert mongods_of(home) == []

    def test_is_found_when_its_data_were_removed_and_a_new_one_serves_new_data(self, home: Path) -> None:
        first = mongod.ensure_running(home)
        shutil.rmtree(home)
        second = mongod.ensure_running(home)
        assert mongods_of(home) == [second.pid] != [first.pid]
        mongod.remove(home)
        assert mongods_of(home) == []
        assert not list(home.parent.iterdir())

    def test_one_that_dies_of_its_cpu_says_so(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake = home.parent / "bin" / "mongod"
        fake.parent.mkdir(parents=True)
        fake.write_text("#!/bin/sh\nkill -ILL $$\n")
        fake.chmod(0o755)
        monkeypatch.setenv("PATH", str(fake.parent), prepend=os.pathsep)
        with pytest.raises(Unavailable, match=r"AVX.*MONGODB_URI"):
            mongod.ensure_running(home)

    def test_adds_no_finds_of_its_own_to_those_that_are_counted(self, mongo: MongoClient[Document]) -> None:
        """It makes one at each refresh of its sessions: by default every 5 minutes, in the midst of a count."""
        refresh = mongo.admin.command("getParameter", logicalSessionRefreshMillis=1)
        assert refresh["logicalSessionRefreshMillis"] >= 3_600_000
