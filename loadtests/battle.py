"""``make battle``: race the stacks, one at a time, and keep what was measured."""

import json
import os
import platform
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from loadtests import toolchain
from loadtests.bodies import EXPECTED, PATHS, WrongReply, check
from loadtests.observer import Outcome, observe
from loadtests.server import LOOPBACK, Server, StackFailed
from loadtests.settings import BadSetting, duration_s, endpoints, whole_number, words
from loadtests.stacks import ROOT, Stack, named, stacks
from loadtests.wrk import Load, Measured, WrkFailed, run
from shared.mongod import free_port
from shared.system_packages import Unavailable

SCHEMA = 1
_WARM_UP_S = 2
_SECOND_LOOK_S = 2


@dataclass(frozen=True)
class Plan:
    """What is measured: every stack at every endpoint, at one number of connections."""

    stacks: list[Stack]
    endpoints: list[str]
    load: Load

    @property
    def seconds(self) -> int:
        """Return about how long the plan takes, in seconds, once everything is set up."""
        return len(self.stacks) * (4 + len(self.endpoints) * (_WARM_UP_S + self.load.duration_s))


@dataclass
class Cell:
    """One stack at one endpoint. ``failed`` counts requests by how they failed; latencies are in milliseconds."""

    stack: str
    endpoint: str
    connections: int
    duration_s: float
    requests_per_s: float
    latency_ms: dict[str, float]
    succeeded: int
    failed: dict[str, int]
    closed_after_reply: int
    """Complete replies that a close followed unannounced: not failures, though wrk calls each a read error."""
    finds: int
    """What mongod counted meanwhile, warm-up excluded."""
    bytes: int
    wrk_output: str


@dataclass
class Results:
    """Everything one battle found out, as ``results.json`` holds it."""

    plan: dict[str, Any]
    environment: dict[str, Any]
    started: str
    schema: int = SCHEMA
    cells: list[Cell] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Why a stack could not be run here, by its name."""
    failed: dict[str, str] = field(default_factory=dict)
    """What was wrong with a stack that was run, by its name."""

    @property
    def passed(self) -> bool:
        return bool(self.cells) and not self.failed and not any(any(cell.failed.values()) for cell in self.cells)


class Watcher:
    """Told what happens while a battle runs. The terminal is one; a test may be another."""

    def stage(self, stack: Stack, what: str) -> None: ...

    def measured(self, cell: Cell) -> None: ...

    def given_up(self, stack: Stack, why: str) -> None: ...


def plan_from_environment() -> Plan:
    """Return the plan that STACKS, ENDPOINTS, CONNECTIONS, DURATION, THREADS_WRK and TIMEOUT describe."""
    return Plan(
        stacks=named(words("STACKS") or list(stacks())),
        endpoints=endpoints(),
        load=Load(
            connections=whole_number("CONNECTIONS", 200, most=50_000),
            duration_s=duration_s("DURATION", "10s"),
            threads=whole_number("THREADS_WRK", 1, most=64),
            timeout_s=duration_s("TIMEOUT", "10s"),
        ),
    )


def new_folder() -> Path:
    """Make and return the folder of this battle, named after its start in UTC."""
    folder = ROOT / "results" / datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise BadSetting(f"{folder} cannot be made: {error.strerror}") from None
    return folder


def fight(plan: Plan, mongodb_uri: str, folder: Path, watcher: Watcher) -> Results:
    """Measure the plan. A stack that fails or cannot be run is noted and the others go on.

    ``results.json`` in ``folder`` is whole after every cell.
    """
    client: MongoClient[dict[str, Any]] = MongoClient(mongodb_uri)
    results = Results(
        plan={
            "stacks": [stack.name for stack in plan.stacks],
            "endpoints": plan.endpoints,
            "warm_up_s": _WARM_UP_S,
            **asdict(plan.load),
        },
        environment=_environment(client),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    with client:
        for stack in plan.stacks:
            try:
                watcher.stage(stack, "setting up")
                toolchain.prepare(stack.app)
                for cell in _measure(stack, plan, mongodb_uri, _finds(client), folder, watcher):
                    results.cells.append(cell)
                    _write(results, folder)
                    watcher.measured(cell)
            except Unavailable as reason:
                results.skipped[stack.name] = str(reason)
                watcher.given_up(stack, f"skipped: {reason}")
            except (StackFailed, WrongReply, WrkFailed) as reason:
                results.failed[stack.name] = str(reason)
                watcher.given_up(stack, f"failed: {reason}")
            _write(results, folder)
    return results


def _measure(
    stack: Stack, plan: Plan, mongodb_uri: str, finds: Callable[[], int], folder: Path, watcher: Watcher
):  # noqa: ANN202
    watcher.stage(stack, "starting")
    with Server(stack, mongodb_uri, free_port(), host=LOOPBACK, log=folder / f"{stack.name}.log") as server:
        for endpoint in plan.endpoints:
            url = f"{server.url}{PATHS[endpoint]}"
            watcher.stage(stack, f"{PATHS[endpoint]}: checking the body")
            check(server, endpoint)
            watcher.stage(stack, f"{PATHS[endpoint]}: warming up for {_WARM_UP_S} s")
            run(url, Load(plan.load.connections, _WARM_UP_S, plan.load.threads, plan.load.timeout_s))
            watcher.stage(stack, f"{PATHS[endpoint]}: {plan.load.connections} connections for {plan.load.duration_s} s")
            finds_before = finds()
            measured = run(url, plan.load)
            finds_meanwhile = finds() - finds_before
            watcher.stage(stack, f"{PATHS[endpoint]}: checking that it still answers")
            check(server, endpoint)
            raw = folder / f"{stack.name}-{endpoint}.wrk.txt"
            raw.write_text(f"$ {' '.join(plan.load.command(url))}\n{measured.output}")
            yield _cell(server, endpoint, plan.load, measured, finds_meanwhile, raw.name)


def _cell(server: Server, endpoint: str, load: Load, measured: Measured, finds: int, raw: str) -> Cell:
    closed = measured.reset if measured.reset and _only_closes_after_replies(server, endpoint, load) else 0
    return Cell(
        stack=server.stack.name,
        endpoint=endpoint,
        connections=load.connections,
        duration_s=measured.duration_s,
        requests_per_s=measured.requests_per_s,
        latency_ms=measured.latency_ms,
        succeeded=measured.succeeded,
        failed={
            Outcome.CONNECT: measured.connect,
            Outcome.RESET: measured.reset - closed,
            Outcome.TIMEOUT: measured.timeout,
            Outcome.STATUS_4XX: measured.status_4xx,
            Outcome.STATUS_5XX: measured.status_5xx,
        },
        closed_after_reply=closed,
        finds=finds,
        bytes=measured.bytes,
        wrk_output=raw,
    )


def _only_closes_after_replies(server: Server, endpoint: str, load: Load) -> bool:
    # wrk counts a close after a complete reply and a reset in the middle of one as the same read error.
    seen = observe(
        server.host, server.port, PATHS[endpoint], load.connections, _SECOND_LOOK_S, body=EXPECTED[endpoint]
    )
    return seen.silent_closes > 0 and seen.failed == 0


def _finds(client: MongoClient[dict[str, Any]]) -> Callable[[], int]:
    return lambda: client.admin.command("serverStatus")["metrics"]["commands"]["find"]["total"]


def _environment(client: MongoClient[dict[str, Any]]) -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "mongod": client.server_info()["version"],
        "wrk": _first_line(["wrk", "-v"]),
        "commit": _first_line(["git", "-C", str(ROOT), "rev-parse", "HEAD"]),
        "uncommitted_changes": bool(_first_line(["git", "-C", str(ROOT), "status", "--porcelain"])),
    }


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout or done.stderr).partition("\n")[0] if done.stdout or command[0] == "wrk" else ""


def _write(results: Results, folder: Path) -> None:
    unfinished = folder / "results.json.new"
    unfinished.write_text(json.dumps(asdict(results), indent=1) + "\n")
    unfinished.replace(folder / "results.json")


