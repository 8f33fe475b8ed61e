"""The service on a real MongoDB. Each test has a database of its own, which it removes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import bson
import pytest
from bson import DatetimeMS, ObjectId
from bson.raw_bson import RawBSONDocument
from conftest import NO_DATABASE, Document, Start
from pymongo import monitoring
from pymongo.database import Database
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError, WaitQueueTimeoutError

from config import Config
from database import Articles, Find
from extended_json import encode
from launch import COMMANDS

OID = ObjectId("53909ff6e4b0f0a1c2d3e401")


class Commands(monitoring.CommandListener):
    """The commands that the driver sent."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.names.append(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


def at_once(*calls: Callable[[], None]) -> None:
    for call in calls:
        call()


def config_of(uri: str, database: Database[Document] | None = None, **settings: str) -> Config:
    name = database.name if database is not None else "articles"
    return Config.from_environment({"MONGODB_URI": uri, "MONGODB_DATABASE": name, **settings})


def test_first_document(mongodb_uri: str, articles: Database[Document]) -> None:
    reader = Articles(config_of(mongodb_uri, articles))
    assert reader.first("articles", at_once) is None
    articles["articles"].insert_one({"_id": OID, "canonicalUrl": "http://foo.com"})
    assert reader.first("articles", at_once) == {"_id": OID, "canonicalUrl": "http://foo.com"}
    articles["articles"].update_one({}, {"$set": {"canonicalUrl": "http://bar.com"}})
    assert reader.first("articles", at_once) == {"_id": OID, "canonicalUrl": "http://bar.com"}


def test_each_question_is_one_find(
    mongodb_uri: str, articles: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = Commands()
    monkeypatch.setattr(monitoring, "_LISTENERS", monitoring._Listeners([commands], [], [], [], []))
    reader = Articles(config_of(mongodb_uri, articles))
    articles["articles"].insert_one({"_id": OID})
    for _ in range(3):
        reader.first("articles", at_once)
    assert [name for name in commands.names if name != "insert"] == ["find"] * 3


def test_what_python_cannot_hold_is_still_a_document(mongodb_uri: str, articles: Database[Document]) -> None:
    raw = bson.encode({"_id": OID, "past": DatetimeMS(-(2**63)), "text": "??", "day": datetime(2014, 6, 1)})
    articles.client.get_database(articles.name)["articles"].insert_one(RawBSONDocument(raw))
    document = Articles(config_of(mongodb_uri, articles)).first("articles", at_once)
    assert document is not None
    assert b'"past":{"$date":{"$numberLong":"-9223372036854775808"}}' in encode(document)


def test_an_operation_that_the_server_refuses(mongodb_uri: str, articles: Database[Document]) -> None:
    articles["stored"].insert_one({"_id": OID})
    articles.create_collection("articles", viewOn="stored", pipeline=[{"$project": {"v": {"$divide": [1, 0]}}}])
    with pytest.raises(OperationFailure):
        Articles(config_of(mongodb_uri, articles)).first("articles", at_once)


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(ServerSelectionTimeoutError):
        Articles(config_of(NO_DATABASE)).first("articles", at_once)


def test_a_connection_is_waited_for_no_longer_than_db_timeout(mongodb_uri: str, articles: Database[Document]) -> None:
    reader = Articles(config_of(mongodb_uri, articles, MONGODB_MAX_POOL_SIZE="1", DB_TIMEOUT_MS="500"))
    assert reader.first("articles", at_once) is None
    pool = next(iter(reader._open()._topology._servers.values())).pool
    with pool.checkout(), pytest.raises(WaitQueueTimeoutError):
        reader.first("articles", at_once)
    assert reader.first("articles", at_once) is None


def test_who_asks_is_told_how_long_it_may_take(mongodb_uri: str, articles: Database[Document]) -> None:
    limits: list[float] = []

    def ask(find: Find, timeout_s: float) -> bytes | None:
        limits.append(timeout_s)
        return find(timeout_s)

    assert Articles(config_of(mongodb_uri, articles, DB_TIMEOUT_MS="1500"), ask).first("articles", at_once) is None
    assert limits == [1.5]


@pytest.mark.parametrize("stack", COMMANDS)
def test_each_stack_serves_what_is_stored(
    stack: str, start: Start, mongodb_uri: str, articles: Database[Document]
) -> None:
    server = start(stack, MONGODB_URI=mongodb_uri, MONGODB_DATABASE=articles.name, WEB_CONCURRENCY="2")
    assert server.ask("/mongo").status == 404
    articles["articles"].insert_one({"_id": 1, "title": "größe", "at": datetime(2014, 6, 1, 12, 0, 0, 123_000)})
    articles["articles_big"].insert_one({"_id": 2, "deep": {"list": [1, 2.5, None, True]}})
    with ThreadPoolExecutor(8) as clients:
        replies = list(clients.map(server.ask, ["/mongo", "/mongo_big"] * 20))
    assert {(reply.status, reply.body.decode()) for reply in replies} == {
        (200, '{"_id":1,"title":"größe","at":{"$date":"2014-06-01T12:00:00.123Z"}}'),
        (200, '{"_id":2,"deep":{"list":[1,2.5,null,true]}}'),
    }
    head = server.ask("/mongo", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("stack", [stack for stack in COMMANDS if stack.endswith("gevent")])
def test_a_pool_without_a_limit_serves_too(
    stack: str, start: Start, mongodb_uri: str, articles: Database[Document]
) -> None:
    uri = f"{mongodb_uri}{'&' if '?' in mongodb_uri else '?'}maxPoolSize=0"
    server = start(stack, MONGODB_URI=uri, MONGODB_DATABASE=articles.name)
    assert server.ask("/mongo").body == b'{"error":"no document"}'
