"""A second observer beside wrk: it sees what wrk cannot tell apart, and how evenly connections are served.

One coroutine for each connection, closed loop: send, read the whole reply, send again. Slower than wrk by far, so
it is for short runs of its own, never for throughput.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median


class Outcome(StrEnum):
    """How a request ended."""

    OK = "ok"
    WRONG_BODY = "wrong_body"
    STATUS_4XX = "status_4xx"
    STATUS_5XX = "status_5xx"
    CONNECT = "connect"
    RESET = "reset"
    TIMEOUT = "timeout"


@dataclass
class Connection:
    """What one client saw. Times in seconds; ``longest_gap_s`` is between two replies, or to the end of the run."""

    replies: int = 0
    first_reply_s: float | None = None
    longest_gap_s: float = 0.0


@dataclass
class Observation:
    """What all clients of one run saw."""

    connections: list[Connection]
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    announced_closes: int = 0
    """Replies that said ``Connection: close``."""
    silent_closes: int = 0
    """Complete replies after which the server closed without having said so: wrk counts each as a read error."""

    @property
    def failed(self) -> int:
        return self.outcomes.total() - self.outcomes[Outcome.OK]

    @property
    def replies(self) -> tuple[int, float, int]:
        """Least, median and most replies of a connection."""
        counts = [connection.replies for connection in self.connections]
        return min(counts), median(counts), max(counts)

    @property
    def longest_gap_s(self) -> float:
        return max(connection.longest_gap_s for connection in self.connections)


def observe(
    host: str, port: int, path: str, connections: int, duration_s: float, timeout_s: float = 10, body: bytes | None = None
) -> Observation:
    """Keep ``connections`` clients asking for ``path`` for ``duration_s`` seconds and return what they saw.

    With ``body``, a reply of another body is a wrong one. A request in flight at the end is not counted.
    """
    seen = Observation([Connection() for _ in range(connections)])
    clients = _Clients(host, port, path, timeout_s, body, seen)
    asyncio.run(clients.ask_until(duration_s))
    return seen


def ask_once(host: str, port: int, path: str, connections: int, timeout_s: float) -> Observation:
    """Open ``connections`` connections at once, ask for ``path`` once on each, and return what came back."""
    seen = Observation([Connection() for _ in range(connections)])
    clients = _Clients(host, port, path, timeout_s, None, seen)
    asyncio.run(clients.ask_once())
    return seen


class _Clients:
    def __init__(
        self, host: str, port: int, path: str, timeout_s: float, body: bytes | None, seen: Observation
    ) -> None:
        self._host = host
        self._port = port
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
        self._timeout_s = timeout_s
        self._body = body
        self._seen = seen

    async def ask_until(self, duration_s: float) -> None:
        started = time.monotonic()
        tasks = [asyncio.create_task(self._ask_again(connection, started)) for connection in self._seen.connections]
        await asyncio.sleep(duration_s)
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    async def ask_once(self) -> None:
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for connection in self._seen.connections:
                group.create_task(self._ask(connection, started))

    async def _ask_again(self, connection: Connection, started: float) -> None:
        last = started
        stream = None
        try:
            while True:
                stream = await self._ask(connection, started, stream)
                now = time.monotonic()
                connection.longest_gap_s = max(connection.longest_gap_s, now - last)
                last = now
        finally:
            connection.longest_gap_s = max(connection.longest_gap_s, time.monotonic() - last)
            _close(stream)

    async def _ask(
        self,
        connection: Connection,
        started: float,
        stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Send one request; return the stream if it can carry another."""
        reused = stream is not None
        try:
            async with asyncio.timeout(self._timeout_s):
                if stream is None:
                    stream = await asyncio.open_connection(self._host, self._port)
                reader, writer = stream
                writer.write(self._request)
                status, closes, body = await _read_reply(reader)
        except TimeoutError:
            return self._failed(Outcome.TIMEOUT, stream)
        except _ClosedBeforeReply:
            if reused:
                self._seen.silent_closes += 1
                _close(stream)
                return None
            return self._failed(Outcome.RESET, stream)
        except (OSError, EOFError, ValueError):
            return self._failed(Outcome.RESET if stream else Outcome.CONNECT, stream)
        if connection.first_reply_s is None:
            connection.first_reply_s = time.monotonic() - started
        connection.replies += 1
        self._seen.outcomes[_classify(status, self._body is None or body == self._body)] += 1
        self._seen.announced_closes += closes
        if closes:
            _close(stream)
            return None
        return stream

    def _failed(
        self, outcome: Outcome, stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None
    ) -> None:
        self._seen.outcomes[outcome] += 1
        _close(stream)


class _ClosedBeforeReply(Exception):
    """The connection ended before the first byte of a reply."""


async def _read_reply(reader: asyncio.StreamReader) -> tuple[int, bool, bytes]:
    """Return status, whether the reply announces a close, and the body. Raises ValueError without Content-Length."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
    except asyncio.IncompleteReadError as error:
        raise (EOFError() if error.partial else _ClosedBeforeReply()) from None
    except ConnectionResetError:
        raise _ClosedBeforeReply() from None
    status = int(head.split(b" ", 2)[1])
    _, found, rest = head.partition(b"\r\ncontent-length:")
    if not found:
        raise ValueError("a reply without Content-Length")
    body = await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))
    return status, b"\r\nconnection: close" in head, body


def _classify(status: int, right_body: bool) -> Outcome:
    if status >= 500:
        return Outcome.STATUS_5XX
    if status >= 400:
        return Outcome.STATUS_4XX
    return Outcome.OK if right_body else Outcome.WRONG_BODY


def _close(stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None) -> None:
    if stream:
        # Nothing is left to send, and a graceful close of thousands would outlast the run.
        stream[1].transport.abort()
