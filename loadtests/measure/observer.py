"""A second observer beside wrk: it sees what wrk cannot tell apart, and how evenly connections are served.

One closed loop for each connection: send, read the whole reply, send again. Slower than wrk, so it is for short runs
of its own, never for throughput.
"""

import asyncio
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from loadtests.measure.wrk import OWN_TROUBLE, WrkFailed, out_of
from loadtests.results.counts import Observation, Outcome

# How often a request that waits too long is looked for, so a timeout is found at most this late.
_WATCH_S = 0.05
# A server may close a connection after a reply while the next request is on its way: how long after that was asked the
# close may still be seen. One observer of thousands of clients is late itself; one of a few is not.
_CROSSED_WITHIN_S = 1.0
_CROSSED_WITHIN_OF_FEW_S = 0.1
# A port that nobody listens on refuses thousands of times a second.
_AFTER_REFUSAL_S = 0.01


@dataclass(frozen=True)
class Request:
    """One request's fate. Times in seconds, ``asked_s`` from the start of the run; ``status`` of a complete reply."""

    asked_s: float
    took_s: float
    outcome: Outcome
    status: int | None

    @property
    def ended_s(self) -> float:
        return self.asked_s + self.took_s


@dataclass(frozen=True)
class Clients:
    """``number`` clients ask for ``path``, each again when it is answered, or ``each_s`` seconds later.

    With ``body``, a reply of another body is a wrong one. With ``fresh`` each request has a connection of its own.
    With ``remember`` the fate of each request is kept, else only their number.
    """

    host: str
    port: int
    path: str
    number: int
    timeout_s: float
    body: bytes | None = None
    each_s: float | None = None
    fresh: bool = False
    remember: bool = False


def observe(
    host: str,
    port: int,
    path: str,
    connections: int,
    duration_s: float,
    timeout_s: float = 10,
    body: bytes | None = None,
) -> Observation:
    """Keep ``connections`` clients asking for ``path`` for ``duration_s`` seconds and return what they saw.

    With ``body``, a reply of another body is a wrong one. Raises WrkFailed where this machine has run out of something.
    """
    return asyncio.run(_Run(Clients(host, port, path, connections, timeout_s, body)).for_seconds(duration_s))


def ask_once(host: str, port: int, path: str, connections: int, timeout_s: float) -> Observation:
    """Open ``connections`` connections at once, ask for ``path`` once on each, and return what came back."""
    at_once = threading.Event()
    at_once.set()
    return asyncio.run(_Run(Clients(host, port, path, connections, timeout_s)).until(at_once))


class KnownLoad:
    """``clients`` ask while in the block, and the fate of their requests is known.

    The block's end waits for what is still unanswered.
    """

    def __init__(self, clients: Clients) -> None:
        self._run = _Run(clients)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._load, daemon=True)

    def _load(self) -> None:
        with suppress(WrkFailed):  # told at the block's end
            asyncio.run(self._run.until(self._over))

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._run.started:
            time.sleep(0.005)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if kind is None:
            self._run.require_no_own_trouble()

    @property
    def now_s(self) -> float:
        """Seconds since its start, on the clock of ``Request.asked_s``."""
        return time.monotonic() - self._run.started

    def wait_until(self, second: float) -> None:
        """Wait until that second of the load, for what is to happen at a known time."""
        time.sleep(max(0.0, second - self.now_s))

    @property
    def outcomes(self) -> Counter[Outcome]:
        return Counter(self._run.outcomes)

    @property
    def requests(self) -> list[Request]:
        return list(self._run.requests)


class _Run:
    def __init__(self, of: Clients) -> None:
        self.of = of
        self.request = f"GET {of.path} HTTP/1.1\r\nHost: {of.host}:{of.port}\r\n\r\n".encode()
        self.again = True
        self.crossed_within_s = _CROSSED_WITHIN_S if of.each_s is None else _CROSSED_WITHIN_OF_FEW_S
        self._ramp_until_s: float | None = None
        self.started = 0.0
        self.own_trouble: str | None = None
        self.clients = [_Client(self) for _ in range(of.number)]
        self.ramp_s = 0.0
        self.outcomes: Counter[Outcome] = Counter()
        self.statuses: Counter[str] = Counter()
        self.latencies_s: list[float] = []
        self.silent_closes = 0
        self.in_flight = 0
        self.requests: list[Request] = []

    async def for_seconds(self, duration_s: float) -> Observation:
        self._start()
        self._ramp_until_s = duration_s / 2
        try:
            await self._watch(self.started + duration_s)
        finally:
            self._end()
        return self._seen()

    async def until(self, over: threading.Event) -> Observation:
        """Ask until ``over`` is set, at least once each, and wait for what is unanswered then."""
        self._start()
        try:
            while not over.is_set():
                await self._watch(time.monotonic() + _WATCH_S)
            self.again = False
            while any(client.asked_at is not None for client in self.clients):
                await self._watch(time.monotonic() + _WATCH_S)
        finally:
            self._end()
        return self._seen()

    def require_no_own_trouble(self) -> None:
        """Raise WrkFailed where this machine, and not the server, had no room for a client."""
        if self.own_trouble:
            raise out_of(f"{self.own_trouble} for {self.of.number} clients")

    def _start(self) -> None:
        self.started = time.monotonic()
        for client in self.clients:
            client.last_reply = self.started
            client.ask()

    async def _watch(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(_WATCH_S, left))
            self.require_no_own_trouble()
            now = time.monotonic()
            overdue = now - self.of.timeout_s
            if self._ramp_until_s is not None:
                self._end_ramp(now - self.started, self._ramp_until_s)
            for client in self.clients:
                if client.asked_at is not None and client.asked_at < overdue:
                    client.ended(Outcome.TIMEOUT)

    def _end_ramp(self, passed_s: float, at_most_s: float) -> None:
        if passed_s < at_most_s and any(client.first_reply_s is None for client in self.clients):
            return
        self._ramp_until_s = None
        self.ramp_s = passed_s
        for client in self.clients:
            client.replies_in_ramp = client.replies

    def _end(self) -> None:
        now = time.monotonic()
        self._duration_s = now - self.started
        for client in self.clients:
            self.in_flight += client.asked_at is not None
            client.longest_gap_s = max(client.longest_gap_s, now - client.last_reply)
            client.leave()

    def _seen(self) -> Observation:
        return Observation(
            duration_s=self._duration_s,
            ramp_s=self.ramp_s,
            replies=[client.replies - client.replies_in_ramp for client in self.clients],
            unanswered=sum(client.replies == 0 for client in self.clients),
            first_replies_s=[each.first_reply_s for each in self.clients if each.first_reply_s is not None],
            longest_gap_s=max(client.longest_gap_s for client in self.clients),
            # Those of thousands would be most of what is kept, and no figure is made of them.
            latencies_s=self.latencies_s if len(self.clients) == 1 else [],
            outcomes=dict(self.outcomes),
            statuses=dict(self.statuses),
            silent_closes=self.silent_closes,
            in_flight=self.in_flight,
        )


class _Client:
    """One connection after another, one request after another."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self.replies = 0
        self.replies_in_ramp = 0
        self.first_reply_s: float | None = None
        self.longest_gap_s = 0.0
        self._stream: _Stream | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._over = False
        self.asked_at: float | None = None
        self.last_reply = 0.0

    def ask(self) -> None:
        self.asked_at = time.monotonic()
        if self._stream is not None:
            self._stream.send(self._run.request)
        else:
            self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        stream = _Stream(self)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: stream, self._run.of.host, self._run.of.port)
        except OSError as error:
            self._run.own_trouble = self._run.own_trouble or OWN_TROUBLE.get(error.errno or 0)
            self.ended(Outcome.REFUSED)
        else:
            self._stream = stream
            stream.send(self._run.request)

    def replied(self, status: int, body: bytes, closes: bool) -> None:
        now = time.monotonic()
        if self.asked_at is None:  # nobody asked: the reply of a request that has timed out, or rubbish
            return
        if self.first_reply_s is None:
            self.first_reply_s = now - self._run.started
        else:
            self.longest_gap_s = max(self.longest_gap_s, now - self.last_reply)
            self._run.latencies_s.append(now - self.asked_at)
        self.last_reply = now
        self.replies += 1
        if closes or self._run.of.fresh or not self._run.again:
            self._drop()
        if status >= 400:
            self._run.statuses[str(status)] += 1
        self.ended(_classify(status, self._run.of.body in (None, body)), status)

    def lost(self, stream: "_Stream", partial: bool) -> None:
        """The server has ended the connection, with part of a reply read or not."""
        if stream is not self._stream or self._over:
            return
        self._stream = None
        if self.asked_at is None:
            self._run.silent_closes += stream.replies > 0
        elif stream.replies and not partial and time.monotonic() - self.asked_at < self._run.crossed_within_s:
            # The close and the next request have crossed: that request was never the server's, so ask again.
            self._run.silent_closes += 1
            self.ask()
        else:
            self.ended(Outcome.RESET)

    def ended(self, outcome: Outcome, status: int | None = None) -> None:
        self._run.outcomes[outcome] += 1
        if self._run.of.remember and self.asked_at is not None:
            took_s = time.monotonic() - self.asked_at
            self._run.requests.append(Request(self.asked_at - self._run.started, took_s, outcome, status))
        self.asked_at = None
        if outcome in (Outcome.TIMEOUT, Outcome.RESET, Outcome.REFUSED):
            self._drop()
        if self._run.again and not self._over:
            # By way of the loop, so that a client whose requests fail at once does not starve the others.
            pause_s = self._run.of.each_s or (_AFTER_REFUSAL_S if outcome is Outcome.REFUSED else 0)
            asyncio.get_running_loop().call_later(pause_s, self._ask_next)

    def leave(self) -> None:
        self._over = True
        self._drop()

    def _ask_next(self) -> None:
        if not self._over and self.asked_at is None:
            self.ask()

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abort()
        if self._connecting is not None and self._connecting is not asyncio.current_task():
            self._connecting.cancel()
        self._connecting = None


class _Stream(asyncio.Protocol):
    """Reads replies off one connection."""

    def __init__(self, client: _Client) -> None:
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self.replies = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def send(self, request: bytes) -> None:
        if self._transport is not None:
            self._transport.write(request)

    def abort(self) -> None:
        if self._transport is not None:
            # Nothing is left to send, and a graceful close of thousands would outlast the run.
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_ends = self._buffer.find(b"\r\n\r\n")
        if head_ends < 0:
            return
        head = bytes(self._buffer[: head_ends + 2]).lower()
        _, found, length = head.partition(b"\r\ncontent-length:")
        if not found:
            self._client.ended(Outcome.RESET)
            return
        ends = head_ends + 4 + int(length.split(b"\r\n", 1)[0])
        if len(self._buffer) < ends:
            return
        body = bytes(self._buffer[head_ends + 4 : ends])
        self._buffer.clear()
        self.replies += 1
        self._client.replied(int(head.split(b" ", 2)[1]), body, b"\r\nconnection: close" in head)

    def connection_lost(self, error: Exception | None) -> None:
        self._client.lost(self, partial=bool(self._buffer))


def _classify(status: int, right_body: bool) -> Outcome:
    if status >= 500:
        return Outcome.STATUS_5XX
    if status >= 400:
        return Outcome.STATUS_4XX
    return Outcome.OK if right_body and status == 200 else Outcome.WRONG_BODY
