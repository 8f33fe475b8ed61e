"""The bound on the wait for the database, with drivers that do not keep to it."""

import asyncio
import logging
import time
from typing import Any

import pytest

from database import Articles


class Driver:
    """A client, a database and a collection at once, whose ``find_one`` is slow and may fail in the end."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.calls = 0
        self.cancelled = 0

    @property
    def topology_description(self) -> "Driver":
        return self

    @property
    def options(self) -> "Driver":
        return self

    server_selection_timeout = 1.5

    def has_readable_server(self) -> bool:
        return True

    def get_database(self, name: str, codec_options: Any) -> "Driver":
        return self

    def __getitem__(self, name: str) -> "Driver":
        return self

    async def find_one(self) -> None:
        self.calls += 1
        try:
            await asyncio.sleep(0.2)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fails:
            raise OSError("timed out, at last")


@pytest.mark.parametrize("fails", [False, True])
def test_the_wait_ends_when_it_has_to(fails: bool, caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver(fails)

    async def ask() -> float:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            await Articles(driver, "articles", timeout_s=0.05, connections=10).first("articles")
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
        articles = Articles(driver, "articles", timeout_s=0.25, connections=1)
        return await asyncio.gather(*(articles.first("articles") for _ in range(4)), return_exceptions=True)

    answers = asyncio.run(ask())
    assert answers[0] is None
    assert [type(answer) for answer in answers[1:]] == [TimeoutError] * 3
    # The second had begun when its time was up; the others never got a connection.
    assert driver.calls == 2


def test_an_answer_in_time() -> None:
    driver = Driver()
    assert asyncio.run(Articles(driver, "articles", timeout_s=5, connections=1).first("articles")) is None
    assert driver.calls == 1
