"""One stack with a mongod of its own, and what is watched while something goes wrong."""

import http.client
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from loadtests.measure.costs import pss_bytes
from loadtests.measure.database import Database
from loadtests.measure.observer import Clients, KnownLoad, Request
from loadtests.results.counts import Outcome
from loadtests.stacks.bodies import EXPECTED
from loadtests.stacks.catalogue import Stack
from loadtests.stacks.server import LOOPBACK, Server, StackFailed
from shared import mongod
from shared.mongod import Mongod, free_port
from shared.seed import seed

DB_TIMEOUT_MS = 2000
# docs/contract.md: nothing hangs past DB_TIMEOUT_MS and this, and a stack is healthy this long after a fault.
GRACE_S = 2.5
HEALTHY_WITHIN_S = 5.0
HANGS_AFTER_S = DB_TIMEOUT_MS / 1000 + GRACE_S
# Fewer than the workers of any stack, so that nobody waits for a worker whom the fault has not reached.
CLIENTS = 4
EACH_S = 0.05
_CLIENT_GIVES_UP_S = 20
_STACK_TRACES = ("Traceback", "\tat ", "    at ")


class DoesNotApply(Exception):
    """The case has no meaning for this stack. The message says why."""


@dataclass
class Finding:
    """What one case showed of one stack. Times in seconds."""

    seen: str
    broken: list[str] = field(default_factory=list)
    """The promises that did not hold, a few words each."""
    outcomes: dict[str, int] = field(default_factory=dict)
    """The requests of the known load by their fate: ``200``, ``503``, ``reset``, ``refused``, ``timeout`` ..."""
    longest_s: float | None = None
    normal_after_s: float | None = None
    """From the end of the fault to the end of the last request that failed."""
    memory_growth_bytes: int | None = None
    workers_lost: int = 0

    def require(self, holds: bool, promise: str) -> None:
        if not holds:
            self.broken.append(promise)


class Arena:
    """Starts ``stack`` on a mongod of its own; everything it writes is below ``folder``."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.port = free_port()
        self._log = folder / "server.log"
        self._kept: Server | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def home(self) -> Path:
        return self.folder / "mongod"

    @property
    def uri(self) -> str:
        return f"mongodb://{LOOPBACK}:{self.port}"

    def start_database(self, options: Sequence[str] = ()) -> Mongod:
        """Return the running mongod, started and seeded where it does not run."""
        running = mongod.running(self.home) or mongod.start(self.home, self.port, options)
        if not options:
            seed(running.uri, "articles")
        return running

    def stop_database(self) -> None:
        running = mongod.running(self.home)
        if running:
            mongod.stop(running)

    def signal_database(self, number: int) -> None:
        """Send a signal to the mongod of this arena, whose session is its own."""
        running = mongod.running(self.home)
        if running is None:
            raise RuntimeError("the arena's mongod does not run")
        os.killpg(running.pid, number)

    @contextmanager
    def failing_finds(self, mode: Any = "alwaysOn", **data: Any) -> Iterator[None]:
        with Database(self.uri) as database, database.failing_finds(mode, **data):
            yield

    @contextmanager
    def server(
        self,
        uri: str | None = None,
        database: bool = True,
        within: Sequence[str] = (),
        log: Path | None = None,
        **settings: str,
    ) -> Iterator[Server]:
        """Start the stack, and its ``database`` before; it is stopped, or killed if it does not stop, at the end."""
        if database:
            self.start_database()
        if log is None:
            log = self._log
            log.unlink(missing_ok=True)
        settings = {"MONGODB_DATABASE": "articles", "DB_TIMEOUT_MS": str(DB_TIMEOUT_MS), **settings}
        server = Server(self.stack, uri or self.uri, free_port(), settings, log=log, within=within)
        server.start()
        try:
            server.wait_until_ready()
            yield server
        finally:
            try:
                server.stop()
            except StackFailed:
                server.kill()

    @contextmanager
    def kept(self) -> Iterator[Self]:
        """Inside the block the cases that start the stack with its usual settings share one server."""
        with self.server() as self._kept:
            yield self
        self._kept = None

    @contextmanager
    def watched(self, asked: int = 0, **options: Any) -> Iterator[tuple[Server, "Watched"]]:
        """Start the stack as ``server`` does, ask it ``asked`` times, and watch it from then on."""
        kept = nullcontext(self._kept) if self._kept and not options else None
        with kept or self.server(**options) as server:
            for _ in range(asked):
                status_of(server, "/mongo")
            yield server, Watched(self, server)

    def load(self, server: Server, path: str = "/mongo", clients: int = CLIENTS, **options: Any) -> KnownLoad:
        body = EXPECTED["mongo"] if path == "/mongo" else None
        options = {"each_s": EACH_S, "timeout_s": _CLIENT_GIVES_UP_S, **options}
        return KnownLoad(Clients(server.host, server.port, path, clients, body=body, remember=True, **options))

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""


class Watched:
    """A server's processes and memory, from now on."""

    def __init__(self, arena: Arena, server: Server) -> None:
        self._arena = arena
        self._server = server
        self._processes = {process.pid for process in server.processes()}
        self._memory = self._pss_bytes()

    def require_normal(self, finding: Finding) -> None:
        """Require that it answers soon, and ``require_unharmed``."""
        require_healthy(self._server, finding)
        self.require_unharmed(finding)

    def require_unharmed(self, finding: Finding) -> None:
        """Note memory and processes; require that none died, and that the log shows no stack trace."""
        now = {process.pid for process in self._server.processes()}
        finding.workers_lost = len(self._processes - now)
        finding.memory_growth_bytes = self._pss_bytes() - self._memory
        finding.require(not finding.workers_lost, "a worker crashed")
        require_clean_log(self._arena, finding)

    def _pss_bytes(self) -> int:
        return sum(pss_bytes(process.pid) or 0 for process in self._server.processes())


def require_healthy(server: Server, finding: Finding, after: str = "the fault's end") -> float | None:
    """Require that it answers soon; return the seconds that took, None where it did not."""
    healthy_s = seconds_until(lambda: status_of(server, "/mongo", 3)[0] == 200, HEALTHY_WITHIN_S)
    finding.require(healthy_s is not None, f"not healthy {HEALTHY_WITHIN_S:.0f} s after {after}")
    return None if healthy_s is None else round(healthy_s, 2)


def require_clean_log(arena: Arena, finding: Finding) -> None:
    log = arena.log
    finding.require(not any(trace in log for trace in _STACK_TRACES), "a stack trace in the log")


def judge(
    requests: Sequence[Request],
    over_s: float,
    allowed: Sequence[str] = ("200", "503"),
    hangs_after_s: float = HANGS_AFTER_S,
) -> Finding:
    """Return what became of the requests of a load whose fault ended at its second ``over_s``.

    While the fault lasts, and until ``HEALTHY_WITHIN_S`` after it, a request may end as one of ``allowed``; later only
    with a right reply.
    """
    outcomes = Counter(fate(request) for request in requests)
    failed = [request for request in requests if request.outcome is not Outcome.OK]
    normal_after_s = max((request.ended_s - over_s for request in failed), default=0.0)
    finding = Finding(
        seen="",
        outcomes=dict(outcomes.most_common()),
        longest_s=round(max((request.took_s for request in requests), default=0.0), 2),
        normal_after_s=round(max(0.0, normal_after_s), 2),
    )
    finding.require(bool(requests), "no request was made")
    finding.require((finding.longest_s or 0) <= hangs_after_s, f"hung for {finding.longest_s:.1f} s")
    finding.require(normal_after_s <= HEALTHY_WITHIN_S, f"not healthy {HEALTHY_WITHIN_S:.0f} s after the fault's end")
    finding.require(
        any(request.asked_s > over_s and request.outcome is Outcome.OK for request in requests),
        "no right reply after the fault's end",
    )
    for name in outcomes:
        finding.require(name in allowed, f"{outcomes[name]} requests ended as {name}")
    finding.seen = told(finding)
    return finding


def fate(request: Request) -> str:
    if request.outcome is Outcome.OK:
        return "200"
    return str(request.status) if request.status is not None and request.status >= 400 else request.outcome.value


def told(finding: Finding) -> str:
    """Return the outcomes and times of a finding in a few words."""
    parts = [f"{name} x{count:,}" for name, count in finding.outcomes.items()]
    if finding.longest_s is not None:
        parts.append(f"longest {finding.longest_s:.1f} s")
    if finding.normal_after_s:
        parts.append(f"normal after {finding.normal_after_s:.1f} s")
    return ", ".join(parts)


def status_of(server: Server, path: str, timeout_s: float = _CLIENT_GIVES_UP_S) -> tuple[int | None, float]:
    """Ask once; return the status, None where no reply came, and the seconds it took."""
    begun = time.monotonic()
    try:
        status: int | None = server.ask(path, timeout_s)[0]
    except (OSError, http.client.HTTPException):
        status = None
    return status, time.monotonic() - begun


def seconds_until(holds: Callable[[], bool], deadline_s: float) -> float | None:
    """Poll until ``holds`` does; return the seconds that took, None when the deadline passed."""
    begun = time.monotonic()
    while not holds():
        if time.monotonic() - begun > deadline_s:
            return None
        time.sleep(0.05)
    return time.monotonic() - begun
