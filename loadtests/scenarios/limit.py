"""``make locust-limit``: the most that one process of locust can send on this machine, beside wrk.

Both ask the cheapest server there is, which answers the articles from memory, so that they are the limit and not it.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from loadtests.measure import wrk
from loadtests.scenarios.command import FILES, variables_for_locust
from loadtests.settings import ROOT, duration_s, endpoints, whole_number
from loadtests.stacks.bodies import EXPECTED, PATHS
from shared.system_packages import require

_CONNECTIONS = 50
_TAGS = {"mongo": "small", "mongo_big": "big"}


def measure() -> int:
    """Measure, print a table, and return the exit status."""
    require(["wrk"])
    seconds = duration_s("DURATION", "3s")
    repeats = whole_number("ROUNDS", 3, most=100)
    tags = {endpoint: _TAGS[endpoint] for endpoint in endpoints() if endpoint in _TAGS}
    found: dict[tuple[str, str], list[float]] = {}
    with instant_articles() as url:
        for _ in range(repeats):
            for endpoint, tag in tags.items():
                measured = wrk.run(f"{url}{PATHS[endpoint]}", wrk.Load(_CONNECTIONS, seconds), EXPECTED[endpoint])
                found.setdefault((endpoint, "wrk, 1 thread"), []).append(measured.replies_per_s)
                for processes in (1, 2):
                    name = f"locust, {processes} process{'es' * (processes > 1)}"
                    found.setdefault((endpoint, name), []).append(_locust(url, tag, processes, seconds))
    print(f"right replies a second, {_CONNECTIONS} connections, no think time, {repeats} runs of {seconds} s each")
    print(f"{'':<12}{'':<22}{'median':>8}{'least':>8}{'most':>8}")
    for (endpoint, name), rates in sorted(found.items()):
        print(f"{PATHS[endpoint]:<12}{name:<22}{median(rates):>8,.0f}{min(rates):>8,.0f}{max(rates):>8,.0f}")
    return 0


def _locust(url: str, tag: str, processes: int, seconds: int) -> float:
    with TemporaryDirectory(prefix="locust-limit-") as folder:
        record = Path(folder, "record.json")
        command = [
            sys.executable, "-m", "locust", "-f", FILES, "--host", url, "--headless", "--only-summary", "--tags", tag,
            "--users", str(_CONNECTIONS), "--spawn-rate", str(_CONNECTIONS), "--think-time", "0",
            "--run-time", f"{seconds}s", "--stop-timeout", "5", "--record", str(record),
        ]  # fmt: skip
        if processes > 1:
            command += ["--processes", str(processes)]
        subprocess.run(
            [*command, "Reader"],
            cwd=ROOT, env=variables_for_locust(os.environ), check=True, capture_output=True, timeout=seconds + 60,
        )  # fmt: skip
        result: dict[str, Any] = json.loads(record.read_text())
    return float((result["total"]["requests"] - result["total"]["failed"]) / result["took_s"])


class _InstantArticles(asyncio.Protocol):
    """Answers whatever comes in as one request: enough for clients that do not pipeline."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(_REPLIES[data.split(b" ", 2)[1].partition(b"?")[0]])


def _reply(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_REPLIES = {
    b"/mongo": _reply(EXPECTED["mongo"]),
    b"/mongo_big": _reply(EXPECTED["mongo_big"]),
    b"/sleep": _reply(wrk.RAMP_BODY.encode()),
}


@contextmanager
def instant_articles() -> Iterator[str]:
    """Serve in a thread inside the block, where this process only waits; yields the address."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(_InstantArticles, "127.0.0.1", 0, backlog=1000))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
