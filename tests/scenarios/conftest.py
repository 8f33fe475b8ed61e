"""What the tests of the scenarios have in common."""

import threading
from collections.abc import Iterator

import pytest

from tests.scenarios.articles import ArticleServer


@pytest.fixture
def articles() -> Iterator[ArticleServer]:
    with ArticleServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
