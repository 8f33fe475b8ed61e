"""The database gone, back, slow, frozen and failing, on every stack; and the project's own mongod and seeding."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bson import Int64
from pymongo import MongoClient

from loadtests.stacks.catalogue import Stack
from loadtests.stacks.server import Server
from shared import mongod
from shared.documents import Document, big, small
from shared.mongod import Mongod, free_port
from shared.seed import NotSeeded, seed
from tests.conftest import StartServer, log_of
from tests.exchange import Reply, ask, finds, wait_until

# What docs/contract.md promises, and a second for a machine that is busy with other tests.
DOWN_WITHIN_S = 2.5 + 1
BACK_WITHIN_S = 5 + 1


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
    def test_is_found_again_and_survives_a_stale_state_file(self, tmp_path: Path) -> None:
        first = mongod.ensure_running(tmp_path)
        try:
            assert mongod.ensure_running(tmp_path) == first
            os.killpg(first.pid, signal.SIGKILL)
            wait_until(lambda: mongod.running(tmp_path) is None, 5, "mongod gone")
            assert (tmp_path / "mongod.json").exists()
            again = mongod.ensure_running(tmp_path)
            assert again.pid != first.pid
            mongod.stop(again)
            assert mongod.running(tmp_path) is None
            assert not (tmp_path / "mongod.json").exists()
        finally:
            left = mongod.running(tmp_path)
            if left:
                mongod.stop(left)

    def test_adds_no_finds_of_its_own_to_those_that_are_counted(self, mongo: MongoClient[Document]) -> None:
        """It makes one at each refresh of its sessions: by default every 5 minutes, in the midst of a count."""
        refresh = mongo.admin.command("getParameter", logicalSessionRefreshMillis=1)
        assert refresh["logicalSessionRefreshMillis"] >= 3_600_000
