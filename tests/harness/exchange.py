"""One HTTP exchange with a started server and how many find commands it cost; one command of the bench."""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient

from loadtests.settings import ROOT
from loadtests.stacks.server import Server
from shared.documents import Document

_COMMAND_ENDS_WITHIN_S = 200


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    took_s: float

    @property
    def error(self) -> str:
        """Return the text of an error's body. Fails where the body is not exactly ``{"error":"..."}``."""
        parsed = json.loads(self.body)
        assert list(parsed) == ["error"]
        assert isinstance(parsed["error"], str)
        assert self.body == json.dumps(parsed, separators=(",", ":")).encode()
        return parsed["error"]


def ask(server: Server, path: str, method: str = "GET", timeout_s: float = 20) -> Reply:
    """Send one request on a connection of its own and return the whole reply."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=timeout_s)
    started = time.monotonic()
    try:
        connection.request(method, path)
        reply = connection.getresponse()
        return Reply(reply.status, reply.headers, reply.read(), time.monotonic() - started)
    finally:
        connection.close()


def loadtests(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run ``python -m loadtests``, as the Makefile does, and return how it ended and what it said."""
    return subprocess.run(
        [sys.executable, "-m", "loadtests", *arguments],
        cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, timeout=_COMMAND_ENDS_WITHIN_S,
    )  # fmt: skip


def wait_until(holds: Callable[[], Any], within_s: float, what: str) -> float:
    """Poll until ``holds`` does and return the seconds it took; fail with ``what`` when the time is up."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < within_s, f"not within {within_s} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - started


def wait_until_healthy(server: Server, within_s: float, path: str = "/mongo") -> float:
    """Poll until ``path`` is answered with 200 and return the seconds it took; fail with the end of the log."""
    try:
        return wait_until(lambda: ask(server, path).status == 200, within_s, f"200 at {path}")
    except AssertionError as late:
        raise AssertionError(f"{late}{server.tail()}") from None


def finds(mongo: MongoClient[Document]) -> int:
    """Return how many find commands the database has had so far."""
    return int(mongo.admin.command("serverStatus")["metrics"]["commands"]["find"]["total"])
