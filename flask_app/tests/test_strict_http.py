"""What the uWSGI stacks refuse that uWSGI's parser lets through."""

from typing import Any

import pytest

from servers.strict_http import is_malformed

GOOD = {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "x", "CONTENT_LENGTH": ""}


@pytest.mark.parametrize(
    ("changes", "malformed"),
    [
        ({}, False),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, False),
        ({"CONTENT_LENGTH": "12"}, False),
        ({"HTTP_X_NAME": "größe".encode().decode("latin-1")}, False),
        ({"SERVER_PROTOCOL": "HTTP/9.9"}, True),
        ({"SERVER_PROTOCOL": None}, True),
        ({"CONTENT_LENGTH": "-1"}, True),
        ({"CONTENT_LENGTH": "1, 2"}, True),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, True),
        ({"HTTP_X_A": "b\r\n c"}, True),
        ({"HTTP_X_A": "b\0c"}, True),
        ({"HTTP_HOST ": "x"}, True),
    ],
)
def test_is_malformed(changes: dict[str, Any], malformed: bool) -> None:
    assert is_malformed({**GOOD, **changes}) == malformed
