"""The bound on the wait for the database, with drivers that do not keep to it."""

import asyncio
import logging
import time
from typing import Any

import pytest

from database import Articles


class Driver:
    """A client, a database and a collection at once. ``find_one`` is slow, and may resist its cancellation."""

    def __init__(self, resists: bool = False) -> None:
        self.resists = resists
        self.calls = 0

    def get_database(self, name: str, codec_options: Any) -> "Driver":
        return self

    def __getitem__(self, name: str) -> "Driver":
        return self

    async def find_one(self) -> None:
        self.calls += 1
        try:
            await asyncio.sleep(0.2)
        except asyncio.CancelledError:
            if not self.resists:
                raise
            await asyncio.sleep(0.1)
            raise OSError("timed out, at last") from None


@pytest.mark.parametrize("resists", [False, True])
def test_the_wait_ends_when_it_has_to(resists: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> float:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            await Articles(Driver(resists), "articles", timeout_s=0.05).first("articles")
        took_s = time.monotonic() - started
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
        return took_s

    with caplog.at_level(logging.ERROR):
        assert 0.05 <= asyncio.run(ask()) < 0.12
    assert caplog.text == ""


def test_an_answer_in_time() -> None:
    driver = Driver()
    assert asyncio.run(Articles(driver, "articles", timeout_s=5).first("articles")) is None
    assert driver.calls == 1
