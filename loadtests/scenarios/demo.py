"""``make demo-sleep``: the lesson that the article began with, told with live numbers.

A reply takes a second in which nothing is done but waiting; how many come depends on who can wait at once. Real
servers, real wrk, and before each run Little's law says what it will give.
"""

import shlex
from dataclasses import dataclass

from loadtests.measure.wrk import run_script
from loadtests.settings import ROOT
from loadtests.signals import stopped_by_signals
from loadtests.stacks import toolchain
from loadtests.stacks.catalogue import named
from loadtests.stacks.processes import session_members, stat
from loadtests.stacks.server import Server
from shared.mongod import free_port
from shared.system_packages import require

# A measurement further than this from its prediction fails the command: the machine is too busy to tell the story.
TOLERANCE = 0.1
_FAILED = 1
_SLEEP_S = 1.0
# /sleep needs no database, and no server needs one to start.
_NO_DATABASE = "mongodb://127.0.0.1:27017"
_SCRIPT = "loadtests/scenarios/last_reply.lua"

_BEGINNING = """\
/sleep answers after one second of nothing but waiting, as for a slow database.
Little's law: requests served at once = replies a second x seconds that each takes."""
_END = """\
A waiting thread holds a stack and serves nobody else; a waiting greenlet holds some kilobytes, and the
thread below it goes on serving. Waiting for 200 at once takes 200 threads, or one event loop."""


@dataclass(frozen=True)
class Run:
    """One server under one load, and what Little's law says of it. ``threads`` is None for the event loop."""

    title: str
    stack: str
    threads: int | None
    clients: int
    law: str
    why: str
    keep_alive: bool = False
    duration_s: int = 6

    @property
    def predicted_per_s(self) -> float:
        at_once = min(self.threads or self.clients, self.clients)
        return at_once / _SLEEP_S

    @property
    def predicted_s(self) -> float:
        """How long a reply takes."""
        # A thread belongs to a connection that is kept, and serves no other client.
        taking_turns = self.threads if self.keep_alive and self.threads else self.clients
        return taking_turns / self.predicted_per_s

    def settings(self) -> dict[str, str]:
        """Return the environment variables to start the server with."""
        return {"WEB_CONCURRENCY": "1"} | ({"THREADS": str(self.threads)} if self.threads else {})

    def load(self, url: str) -> list[str]:
        """Return wrk's command line, as typed in the project's folder."""
        header = [] if self.keep_alive else ["-H", "Connection: close"]
        size = ["-t1", f"-c{self.clients}", f"-d{self.duration_s}s"]
        return ["wrk", *size, "--timeout", "10s", *header, "-s", _SCRIPT, f"{url}/sleep"]


@dataclass(frozen=True)
class Heard:
    """What came of a run: whole replies, when the last one came, how long one typically took, the server's threads."""

    replies: int
    last_s: float
    median_s: float
    threads: int

    @property
    def per_s(self) -> float:
        return self.replies / self.last_s if self.last_s else 0.0


RUNS = (
    Run(
        "One thread, one client",
        "uwsgi-threads",
        threads=1,
        clients=1,
        law="1 at once / 1 s = 1 a second",
        why="The thread sleeps through its second, and there is nobody else to mind.",
    ),
    Run(
        "One thread, two clients",
        "uwsgi-threads",
        threads=1,
        clients=2,
        law="still 1 at once / 1 s = 1 a second, so 2 clients wait 2 s each",
        why="A sleeping thread serves nobody: each client waits for the other's second as well.",
    ),
    Run(
        "Two threads, two clients",
        "uwsgi-threads",
        threads=2,
        clients=2,
        law="2 at once / 1 s = 2 a second",
        why="A thread for each that waits. This is simple, and works up to some hundreds of threads.",
    ),
    Run(
        "One thread, two clients that keep their connections open, as clients do today",
        "uwsgi-threads",
        threads=1,
        clients=2,
        law="1 a second; but the thread belongs to an open connection, so 1 client has it all",
        why="1 a second x 1 s = 1: one client was served without a queue, and the other never.",
        keep_alive=True,
        duration_s=4,
    ),
    Run(
        "One event loop, 200 clients",
        "gunicorn-gevent",
        threads=None,
        clients=200,
        law="200 at once / 1 s = 200 a second",
        why="A request that waits is a parked greenlet: its thread takes the next one meanwhile.",
    ),
)


def tell() -> int:
    """Tell the story; return 0, or 1 when a measurement missed its prediction.

    Raises Unavailable, StackFailed and WrkFailed with one line.
    """
    require(["wrk"])
    for run in RUNS:
        toolchain.prepare(named([run.stack])[0].app)
    print(_BEGINNING)
    missed = []
    with stopped_by_signals():
        for number, run in enumerate(RUNS, start=1):
            heard = _tell(number, run)
            if off(heard.per_s, run.predicted_per_s) or off(heard.median_s, run.predicted_s):
                missed.append(run.title)
    print(f"\n{_END}")
    if missed:
        print(f"\nMore than {TOLERANCE:.0%} from the prediction: {'; '.join(missed)}. Is the machine busy? Try again.")
    return _FAILED if missed else 0


def off(measured: float, predicted: float) -> bool:
    """Return whether a measurement is too far from its prediction."""
    return abs(measured - predicted) > TOLERANCE * predicted


def _tell(number: int, run: Run) -> Heard:
    stack = named([run.stack])[0]
    log = ROOT / ".prepared" / "demo-sleep.log"
    log.unlink(missing_ok=True)
    server = Server(stack, _NO_DATABASE, free_port(), run.settings(), log=log)
    settings = " ".join(f"{name}={value}" for name, value in (run.settings() | {"PORT": str(server.port)}).items())
    command = run.load(server.url)
    print(f"\n{number}. {run.title}")
    print(f"   in {stack.app.name}/   $ {settings} {stack.command}")
    print(f"   and here        $ {shlex.join(command)}")
    print(f"   Little's law    {run.law}")
    print(f"   predicted       {run.predicted_per_s:6.2f} replies a second, {run.predicted_s:.2f} s each", flush=True)
    with server:
        heard = _heard(run, command, server)
    print(f"   measured        {heard.per_s:6.2f} replies a second, {heard.median_s:.2f} s each", end="")
    print(f"   ({heard.replies:,} in {heard.last_s:.2f} s; {heard.threads} threads, the master's included)")
    print(f"   why             {run.why}", flush=True)
    return heard


def _heard(run: Run, command: list[str], server: Server) -> Heard:
    _, summary, _ = run_script(command, run.duration_s)
    threads = sum(found.threads for pid in session_members(server.session) if (found := stat(pid)))
    return Heard(**summary, threads=threads)
