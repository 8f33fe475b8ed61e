"""What the tests of the scenarios have in common."""

from collections.abc import Iterator

import pytest

from tests.scenarios.articles import ArticleServer


@pytest.fixture
def articles() -> Iterator[ArticleServer]:
    server = ArticleServer()
    server.start()
    yield server
    server.stop()
