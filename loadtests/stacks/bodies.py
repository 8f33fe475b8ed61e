"""What each endpoint must answer, and whether a started stack does."""

import http.client

from loadtests.stacks.server import Server
from shared.documents import big, extended_json, small

_REQUEST_TIMEOUT_S = 15


class WrongReply(Exception):
    """A stack does not answer as the contract says. The message is one line."""


PATHS = {"mongo": "/mongo", "mongo_big": "/mongo_big", "sleep": "/sleep?ms=100"}
EXPECTED = {"mongo": extended_json(small()), "mongo_big": extended_json(big()), "sleep": b'{"slept_ms":100}'}


def check(server: Server, endpoint: str) -> None:
    """Ask ``server`` once for ``endpoint``. Raises WrongReply where status, type or body are not the contract's."""
    try:
        status, content_type, body = server.ask(PATHS[endpoint], _REQUEST_TIMEOUT_S)
    except (OSError, http.client.HTTPException) as error:
        raise WrongReply(f"{PATHS[endpoint]}: no reply ({error or type(error).__name__})") from None
    if status != http.client.OK:
        raise WrongReply(f"{PATHS[endpoint]}: status {status}, {body[:200].decode(errors='replace')}")
    if content_type != "application/json":
        raise WrongReply(f"{PATHS[endpoint]}: Content-Type {content_type}, not application/json")
    if body != EXPECTED[endpoint]:
        raise WrongReply(f"{PATHS[endpoint]}: {_first_difference(EXPECTED[endpoint], body)}")


def _first_difference(expected: bytes, body: bytes) -> str:
    at = next(
        (i for i, (a, b) in enumerate(zip(expected, body, strict=False)) if a != b), min(len(expected), len(body))
    )
    return f"wrong body at byte {at}: {body[at - 10 : at + 20]!r} where {expected[at - 10 : at + 20]!r} is right"
