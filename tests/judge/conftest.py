"""What the tests of the judge have in common."""

from typing import Any

import pytest

from tests.results.sample import raw


@pytest.fixture
def sample() -> dict[str, Any]:
    return raw()
