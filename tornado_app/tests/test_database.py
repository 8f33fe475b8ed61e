"""The bounds on time and memory, with drivers that keep to none; and documents that drivers take for their own."""

import asyncio
import logging
import time
from dataclasses import replace
from datetime import datetime
from typing import Any

import bson
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MinKey, ObjectId, Regex, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo import ReadPreference
from pymongo.errors import ConfigurationError

from config import Config
from database import Articles, Document, decode
from extended_json import encode


class Driver:
    """A client, a database and a collection at once, whose ``find_one`` is slow and may fail in the end."""

    server_selection_timeout = 0.1
    wait_queue_timeout: float | None = None
    read_preference = ReadPreference.SECONDARY_PREFERRED

    def __init__(self, fails: bool = False, found: dict[str, Any] | None = None) -> None:
        self.fails = fails
        self.found = None if found is None else RawBSONDocument(bson.encode(found))
        self.calls = 0
        self.under_way = self.most_under_way = 0
        self.cancelled = 0

    @property
    def options(self) -> "Driver":
        return self

    @property
    def pool_options(self) -> "Driver":
        return self

    @property
    def topology_description(self) -> "Driver":
        return self

    def has_readable_server(self, read_preference: Any) -> bool:
        return bool(read_preference is self.read_preference)

    def get_database(self, name: str, codec_options: Any) -> "Driver":
        return self

    def get_collection(self, name: str) -> "Driver":
        return self

    async def find_one(self, max_time_ms: int) -> RawBSONDocument | None:
        assert max_time_ms >= 1
        self.calls += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0.2)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        if self.fails:
            raise OSError("timed out, at last")
        return self.found


def articles_of(driver: Any, **settings: str) -> Articles:
    return Articles(driver, Config.from_environment(settings))


async def first(articles: Articles, hold_s: float = 0) -> Any:
    found = []

    async def reply(document: Document | None) -> None:
        await asyncio.sleep(hold_s)
        found.append(document)

    await articles.first("articles", reply)
    return found[0]


@pytest.mark.parametrize("fails", [False, True])
def test_the_wait_ends_when_it_has_to(fails: bool, caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver(fails)

    async def ask() -> float:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            await first(articles_of(driver, DB_TIMEOUT_MS="50"))
        took_s = time.monotonic() - started
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
        return took_s

    with caplog.at_level(logging.ERROR):
        assert 0.05 <= asyncio.run(ask()) < 0.12
    assert caplog.text == ""
    assert driver.cancelled == 0


def test_who_waits_too_long_for_a_connection_asks_nothing() -> None:
    driver = Driver()

    async def ask() -> list[Any]:
        articles = articles_of(driver, DB_TIMEOUT_MS="250", MONGODB_MAX_POOL_SIZE="1")
        return await asyncio.gather(*(first(articles) for _ in range(4)), return_exceptions=True)

    answers = asyncio.run(ask())
    assert answers[0] is None
    assert [type(answer) for answer in answers[1:]] == [TimeoutError] * 3
    # The second had begun when its time was up; the others never got a connection.
    assert driver.calls == 2


def test_the_pool_and_the_queue_of_the_uri() -> None:
    driver = Driver()
    driver.wait_queue_timeout = 0.1

    async def ask() -> list[Any]:
        articles = articles_of(driver, MONGODB_URI="mongodb://db/?maxPoolSize=2")
        return await asyncio.gather(*(first(articles) for _ in range(5)), return_exceptions=True)

    assert [type(answer) for answer in asyncio.run(ask())] == [type(None)] * 2 + [TimeoutError] * 3
    assert driver.most_under_way == 2


def with_memory_for(documents: int, driver: Driver) -> Articles:
    """Return articles with memory for so many of what ``driver`` finds: each is there three times."""
    config = Config.from_environment({"DB_TIMEOUT_MS": "1500"})
    return Articles(
        driver, replace(config, document_bytes=3 * documents * len(driver.found.raw) if driver.found else 0)
    )


def test_large_documents_wait_for_memory_until_others_have_been_taken() -> None:
    driver = Driver(found={"text": "x" * 1_000_000})

    async def ask(clients: int, hold_s: float) -> list[Any]:
        articles = with_memory_for(4, driver)
        await first(articles)
        return await asyncio.gather(*(first(articles, hold_s) for _ in range(clients)), return_exceptions=True)

    assert all(asyncio.run(ask(9, 0.1)))
    assert driver.most_under_way == 4
    answers = asyncio.run(ask(7, 1.6))
    assert [type(answer) for answer in answers] == [dict] * 4 + [TimeoutError] * 3


def test_a_document_that_nobody_has_seen_counts_as_the_largest_until_one_has() -> None:
    driver = Driver(found={"text": "x" * 2**24})
    under_way_at_first = 0

    async def ask() -> list[Any]:
        nonlocal under_way_at_first
        articles = with_memory_for(2, driver)
        driver.found = RawBSONDocument(bson.encode({"text": "small"}))
        clients = [asyncio.ensure_future(first(articles)) for _ in range(50)]
        await asyncio.sleep(0.1)
        under_way_at_first = driver.under_way
        return await asyncio.gather(*clients)

    assert asyncio.run(ask()) == [{"text": "small"}] * 50
    assert under_way_at_first == 2
    # All others went together.
    assert driver.most_under_way == 48


def test_a_document_that_has_grown_waits_for_memory_before_it_is_decoded() -> None:
    driver = Driver(found={"text": "x" * 1_000_000})
    held = most_held = 0

    async def hold(_document: Document | None) -> None:
        nonlocal held, most_held
        held += 1
        most_held = max(most_held, held)
        await asyncio.sleep(0.1)
        held -= 1

    async def ask() -> None:
        articles = with_memory_for(2, driver)
        driver.found = RawBSONDocument(bson.encode({"text": "x" * 10}))
        await first(articles)
        driver.found = RawBSONDocument(bson.encode({"text": "x" * 1_000_000}))
        await asyncio.gather(*(articles.first("articles", hold) for _ in range(8)))
        assert driver.most_under_way == 8
        # What is larger than all the memory has all of it.
        driver.found = RawBSONDocument(bson.encode({"text": "x" * 9_000_000}))
        await asyncio.gather(*(articles.first("articles", hold) for _ in range(2)))

    asyncio.run(ask())
    assert most_held == 2


def test_small_documents_do_not_wait_for_memory() -> None:
    driver = Driver(found={"text": "x" * 7000})

    async def ask() -> list[Any]:
        articles = with_memory_for(1, driver)
        await first(articles)
        return await asyncio.gather(*(first(articles) for _ in range(100)))

    assert all(asyncio.run(ask()))
    assert driver.most_under_way == 100


def test_a_server_that_is_not_known_is_looked_for_once_for_all() -> None:
    """Each request is told in time. The look goes on, however slow DNS is, and the next one begins after it."""

    class Unknown(Driver):
        looks = 0
        known = False
        admin = property(lambda self: self)

        def has_readable_server(self, read_preference: Any) -> bool:
            return self.known

        async def command(self, name: str, read_preference: Any) -> None:
            assert read_preference is self.read_preference
            self.looks += 1
            await asyncio.sleep(1)
            if self.looks == 1:
                raise ConfigurationError("The DNS query timed out")
            self.known = True

    driver = Unknown()

    async def ask() -> list[list[Any]]:
        articles = articles_of(driver)
        answers = []
        for _ in range(3):
            started = time.monotonic()
            answers.append(await asyncio.gather(*(first(articles) for _ in range(5)), return_exceptions=True))
            assert time.monotonic() - started < 0.9
            await asyncio.sleep(0.2)
        await asyncio.sleep(1)
        return [*answers, [await first(articles)]]

    early, failed, late, served = asyncio.run(ask())
    assert [type(answer) for answer in early] == [TimeoutError] * 5
    assert [str(answer) for answer in failed] == ["The DNS query timed out"] * 5
    assert [type(answer) for answer in late] == [TimeoutError] * 5
    assert (driver.looks, driver.calls, served) == (2, 1, [None])


# As stored, and as served.
IN_THEIR_ORDER = {
    "a name before": ({"x": 1, "$ref": "c", "$id": 5}, '{"x":1,"$ref":"c","$id":5}'),
    "a name between": ({"$ref": "c", "x": {"$id": 1}, "$id": 5}, '{"$ref":"c","x":{"$id":1},"$id":5}'),
    "the other way round": ({"$id": 1, "$ref": "c", "$db": "d"}, '{"$id":1,"$ref":"c","$db":"d"}'),
    "a null": ({"$ref": "c", "$id": None, "$db": None}, '{"$ref":"c","$id":null,"$db":null}'),
    "no text": ({"$ref": 1, "$id": 2.5, "$db": 3}, '{"$ref":1,"$id":2.5,"$db":3}'),
    "in a list": ([[{"$db": "d", "$ref": "c", "$id": 1}]], '[[{"$db":"d","$ref":"c","$id":1}]]'),
    "in a scope": (Code("f", {"$id": 1, "$ref": "c"}), '{"$code":"f","$scope":{"$id":1,"$ref":"c"}}'),
}


@pytest.mark.parametrize(("value", "text"), IN_THEIR_ORDER.values(), ids=IN_THEIR_ORDER)
def test_names_that_the_driver_takes_for_a_reference(value: Any, text: str) -> None:
    stored = bson.encode({"$id": 0, "$ref": "top", "v": value})
    assert encode(decode(stored)).decode() == f'{{"$id":0,"$ref":"top","v":{text}}}'


# Subtype 2: the length of all, 2, the length of the rest once more.
OLD_BINARIES = {
    "right": (b"\7\0\0\0\2\3\0\0\0abc", '{"$binary":{"base64":"YWJj","subType":"02"}}'),
    "too short": (b"\7\0\0\0\2\2\0\0\0abc", '{"$binary":{"base64":"YWJj","subType":"02"}}'),
    "negative": (b"\7\0\0\0\2\xff\xff\xff\xffabc", '{"$binary":{"base64":"YWJj","subType":"02"}}'),
    "not there": (b"\2\0\0\0\2ab", '{"$binary":{"base64":"YWI=","subType":"00"}}'),
}
BESIDE = {
    "text": "\5v\0\7\0\0\0\2",
    "binary": Binary(b"\5v\0\7\0\0\0\2", 5),
    "code": Code("f", {"a": "b"}),
    "regex": Regex("a", "i"),
    "date": datetime(2014, 6, 1),
    "id": ObjectId(),
    "min": MinKey(),
    "code2": Code("f"),
    "decimal": Decimal128("1"),
    "int": 1,
    "long": Int64(2**60),
    "time": Timestamp(1, 2),
    "true": True,
    "none": None,
    "double": 1.5,
    "list": [[{}], [1, {"a": []}]],
    "pointer": DBRef("c", ObjectId()),
}


@pytest.mark.parametrize(("old", "text"), OLD_BINARIES.values(), ids=OLD_BINARIES)
def test_an_old_binary_that_contradicts_itself(old: bytes, text: str) -> None:
    """Whatever stands before it, in whatever it stands."""
    whole = encode(decode(bson.encode(BESIDE)))
    inner = bson.encode(BESIDE)[4:-1] + b"\5v\0" + old + b"\x10w\0\7\0\0\0\0"
    inner = (len(inner) + 4).to_bytes(4, "little") + inner
    stored = bson.encode(BESIDE)[4:-1] + b"\3d\0" + inner + b"\5v\0" + old + b"\0"
    found = encode(decode((len(stored) + 4).to_bytes(4, "little") + stored)).decode()
    before = whole.decode()[:-1]
    assert found == f'{before},"d":{before},"v":{text},"w":7}},"v":{text}}}'
