"""The database gone, back, slow, frozen and failing, on every stack; and the project's own mongod and seeding."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bson import Int64
from pymongo import MongoClient

from loadtests.server import Server
from loadtests.stacks import Stack
from shared import mongod
from shared.documents import Document, big, extended_json, small
from shared.mongod import Mongod, free_port
from shared.seed import NotSeeded, seed
from tests.conftest import StartServer, log_of
from tests.exchange import Reply, ask, finds, wait_until

# What docs/contract.md promises, and a second for a machine that is busy with other tests.
DOWN_WITHIN_S = 2.5 + 1
BACK_WITHIN_S = 5 + 1


@contextmanager
def failing(mongo: MongoClient[Document], server: Server, mode: Any = "alwaysOn", **data: Any) -> Iterator[None]:
    """Make mongod fail the finds of ``server``, and of nobody else, inside the block."""
    of_this_server = {"failCommands": ["find"], "appName": server.database, **data}  # type: ignore[attr-defined]
    mongo.admin.command("configureFailPoint", "failCommand", mode=mode, data=of_this_server)
    try:
        yield
    finally:
        mongo.admin.command("configureFailPoint", "failCommand", mode="off")


def is_unavailable(reply: Reply) -> bool:
    return (reply.status, reply.headers["Retry-After"], reply.error) == (503, "1", "database unavailable")


def test_the_database_goes_and_comes_back(stack: Stack, start_server: StartServer, tmp_path: Path) -> None:
    first = mongod.start(tmp_path, free_port())
    seed(first.uri, "articles")
    try:
        with start_server(stack, uri=first.uri, MONGODB_DATABASE="articles") as server:
            assert ask(server, "/mongo").body == extended_json(small())
            os.killpg(first.pid, signal.SIGKILL)
            wait_until(lambda: mongod.running(tmp_path) is None, 5, "mongod gone")
            for path in ("/mongo", "/mongo_big"):
                reply = ask(server, path)
                assert is_unavailable(reply)
                assert reply.took_s < DOWN_WITHIN_S
            assert ask(server, "/sleep?ms=0").status == 200
            second = mongod.start(tmp_path, first.port)
            wait_until(lambda: ask(server, "/mongo").status == 200, BACK_WITHIN_S, "healthy again")
            mongod.stop(second)
            assert "Traceback" not in log_of(server)
    finally:
        left = mongod.running(tmp_path)
        if left:
            mongod.stop(left)


def test_a_start_without_the_database(stack: Stack, start_server: StartServer, tmp_path: Path) -> None:
    port = free_port()
    with start_server(stack, uri=f"mongodb://127.0.0.1:{port}", MONGODB_DATABASE="articles") as server:
        reply = ask(server, "/mongo")
        assert is_unavailable(reply)
        assert reply.took_s < DOWN_WITHIN_S
        started = mongod.start(tmp_path, port)
        try:
            seed(started.uri, "articles")
            wait_until(lambda: ask(server, "/mongo").status == 200, BACK_WITHIN_S, "healthy once the database is there")
        finally:
            mongod.stop(started)


def test_a_frozen_database(stack: Stack, start_server: StartServer, tmp_path: Path) -> None:
    frozen = mongod.start(tmp_path, free_port())
    seed(frozen.uri, "articles")
    try:
        with start_server(stack, uri=frozen.uri, MONGODB_DATABASE="articles", DB_TIMEOUT_MS="1000") as server:
            assert ask(server, "/mongo").status == 200
            os.killpg(frozen.pid, signal.SIGSTOP)
            try:
                reply = ask(server, "/mongo")
                assert is_unavailable(reply)
                assert reply.took_s < 1 + DOWN_WITHIN_S
            finally:
                os.killpg(frozen.pid, signal.SIGCONT)
            wait_until(lambda: ask(server, "/mongo").status == 200, BACK_WITHIN_S, "healthy once it runs on")
    finally:
        mongod.stop(frozen)


@pytest.fixture
def named_server(stack: Stack, start_server: StartServer, database_server: Mongod, mongo: MongoClient[Document]) -> Any:
    """A stack that the failpoints can single out, with a short DB_TIMEOUT_MS."""
    name = f"articles_named_{stack.name.replace('-', '_')}"
    seed(database_server.uri, name)
    uri = f"{database_server.uri}/?appName={name}"
    with start_server(stack, uri=uri, MONGODB_DATABASE=name, DB_TIMEOUT_MS="1000") as server:
        assert ask(server, "/mongo").status == 200
        yield server
    mongo.drop_database(name)


def test_operations_that_fail(named_server: Server, mongo: MongoClient[Document]) -> None:
    with failing(mongo, named_server, errorCode=50):
        reply = ask(named_server, "/mongo")
        assert is_unavailable(reply)
        assert reply.took_s < DOWN_WITHIN_S
    wait_until(lambda: ask(named_server, "/mongo").status == 200, BACK_WITHIN_S, "healthy again after errors")

    with failing(mongo, named_server, blockConnection=True, blockTimeMS=4000):
        reply = ask(named_server, "/mongo")
        assert is_unavailable(reply)
        assert reply.took_s < 1 + DOWN_WITHIN_S
    wait_until(lambda: ask(named_server, "/mongo").status == 200, BACK_WITHIN_S, "healthy again after slow finds")

    with failing(mongo, named_server, closeConnection=True):
        assert is_unavailable(ask(named_server, "/mongo"))
    wait_until(lambda: ask(named_server, "/mongo").status == 200, BACK_WITHIN_S, "healthy again after drops")

    assert "Traceback" not in log_of(named_server)


def test_slow_finds_are_answered_side_by_side(named_server: Server, mongo: MongoClient[Document]) -> None:
    clients = 2 if named_server.stack.model == "processes" else 8
    with failing(mongo, named_server, blockConnection=True, blockTimeMS=300), ThreadPoolExecutor(clients) as pool:
        before = finds(mongo)
        replies = list(pool.map(lambda _: ask(named_server, "/mongo"), range(clients)))
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
