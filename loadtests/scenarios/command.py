"""``make locust-NAME`` and its relatives: locust in a process of its own, and what it found written down.

locust's own variables (LOCUST_USERS, LOCUST_TAGS, ...) reach it as they are; what is set here are their defaults.
"""

import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from loadtests.machines.description import describe
from loadtests.measure.database import Database, DatabaseGone
from loadtests.results.battle import Environment
from loadtests.results.file import dated_folder, now, write_whole
from loadtests.scenarios.summary import summarise, tell
from loadtests.settings import RESULTS, ROOT, BadSetting, authority, duration_s, whole_number
from loadtests.signals import Stopped, stopped_by_signals
from loadtests.stacks.bodies import EXPECTED, PATHS, check
from loadtests.stacks.by_hand import prepared, say, warn_if_reachable
from loadtests.stacks.catalogue import Stack
from loadtests.stacks.processes import die_with_parent, session_members
from loadtests.stacks.room import require_room
from loadtests.stacks.server import LOOPBACK, StackFailed, require_free_port
from shared.environment import HOME
from shared.mongod import free_port

FILES = ",".join(str(Path(__file__).with_name(name)) for name in ("locustfile.py", "recorder.py"))
# The slowest reply takes this long; users are let finish, so that locust has counted all that the server has.
_LAST_REPLIES_S = 15
_STOP_TIMEOUT_S = 2 * _LAST_REPLIES_S
_USERS = 100
_RAMP_UP_S = 5
# locust warns above this; a process that makes many users at once runs them late.
_MOST_SPAWNED_PER_S = 100
# Where the locust file takes the digest of each document's body from.
_VARIABLES = {"mongo": "LOCUST_SMALL_SHA256", "mongo_big": "LOCUST_BIG_SHA256"}
# What a summary tells of how it was made. Other variables may hold logins: locust reads LOCUST_WEB_AUTH, for one.
_TOLD = re.compile(
    "TARGET|MASTER|DURATION|WEB_CONCURRENCY|THREADS|LOCUST_(USERS|SPAWN_RATE|RUN_TIME|STOP_TIMEOUT|PROCESSES|"
    "EXPECT_WORKERS|USER_CLASSES|TAGS|EXCLUDE_TAGS|THINK_TIME|BIG_SHARE|FEED_RATE|SLEEP_MS|BURST|BURST_PERIOD)"
)
_FAILED = 1
_INTERRUPTED = 130
_MASTER_PORT = 5557
_WEB_PORT = 8089


@dataclass(frozen=True)
class Target:
    """What is loaded. ``database`` is asked how many finds it served, where there is one to ask."""

    url: str
    folder: Path
    stack: Stack | None = None
    database: Database | None = None
    digests: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the right body of each document that is known, by endpoint."""


def load(stack: Stack) -> int:
    """Start ``stack``, let the users come, write down what happened, stop it; return the exit status."""
    _check_variables()
    with stopped_by_signals(), _served(stack, None if os.environ.get("PORT") else free_port()) as target:
        return _headless(target)


def load_target() -> int:
    """Let the users come to the server that TARGET names, wherever it runs; return the exit status."""
    _check_variables()
    target = _target("target")
    with stopped_by_signals():
        return _headless(target)


def web_page(stack: Stack) -> int:
    """Start ``stack`` and locust's web page, and keep both until a signal; return the exit status."""
    _check_variables()
    host = os.environ.get("LOCUST_WEB_HOST") or LOOPBACK
    port = whole_number("LOCUST_WEB_PORT", _WEB_PORT, most=65535)
    require_free_port(host, port)
    with stopped_by_signals():
        try:
            with _served(stack) as target:
                say(f"\nlocust's page: http://{authority(host, port)} (Ctrl-C stops it and {stack.name})")
                warn_if_reachable("LOCUST_WEB_HOST", host, "whoever opens it can send load from here")
                command = _command(target, "--web-host", host, "--web-port", str(port), "--class-picker")
                with _locust(command, _environment(target), target.folder) as process:
                    return process.wait()
        except Stopped:
            return 0


def master() -> int:
    """Run a master in the foreground: it waits for its workers, runs the scenario on them, and writes it down."""
    _check_variables(users_here=False)
    target = _target("master")
    host = os.environ.get("LOCUST_MASTER_BIND_HOST") or LOOPBACK
    port = whole_number("LOCUST_MASTER_BIND_PORT", _MASTER_PORT, most=65535)
    workers = whole_number("LOCUST_EXPECT_WORKERS", 1, most=1000)
    require_free_port(host, port)
    warn_if_reachable(
        "LOCUST_MASTER_BIND_HOST", host, "whoever reaches the port can join as a worker and report anything"
    )
    place = authority(host, port)
    say(f"waiting for {workers} worker{'s' * (workers > 1)} at {place}: make locust-worker MASTER={place}")
    options = ("--master", "--master-bind-host", host, "--master-bind-port", str(port))
    with stopped_by_signals():
        return _headless(target, *options, "--expect-workers", str(workers), "--enable-rebalancing")


def worker() -> int:
    """Run a worker of the master at MASTER until that ends; return the exit status."""
    text = os.environ.get("MASTER") or LOOPBACK
    match = re.fullmatch(r"([^:\s]+|\[[0-9a-fA-F:.]+(?:%\w+)?\])(?::([0-9]{1,5}))?", text)
    if match is None:
        raise BadSetting(f"MASTER must be HOST, HOST:PORT or [IPV6]:PORT, not '{text}'")
    address = ("--master-host", match[1].strip("[]"), "--master-port", match[2] or str(_MASTER_PORT))
    command = [sys.executable, "-m", "locust", "-f", FILES, "--worker", *address]
    say(f"worker of the master at {text}; it may be started later (Ctrl-C stops this)")
    with stopped_by_signals(), _locust(command, variables_for_locust(os.environ)) as process:
        return process.wait()


@contextmanager
def _served(stack: Stack, port: int | None = None) -> Iterator[Target]:
    server, fixtures = prepared(stack, port)
    folder = _new_folder(stack.name)
    server.log = folder / f"{stack.name}.log"
    with Database(server.mongodb_uri) as database, server:
        if fixtures:
            for endpoint in EXPECTED:
                check(server, endpoint)
        digests = {endpoint: sha256(EXPECTED[endpoint]).hexdigest() for endpoint in _VARIABLES} if fixtures else {}
        yield Target(server.url, folder, stack, database, digests)


def _target(name: str) -> Target:
    url = (os.environ.get("TARGET") or "http://127.0.0.1:5000").rstrip("/")
    example = "TARGET must be an address such as http://127.0.0.1:5000"
    if "@" in url:
        raise BadSetting(f"{example}, with no login: it is written into files")
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.path or parts.query:
        raise BadSetting(f"{example}, not '{url}'")
    digests = _digests(url)
    uri = os.environ.get("MONGODB_URI")
    return Target(url, _new_folder(name), database=Database(uri) if uri else None, digests=digests)


def _digests(url: str) -> dict[str, str]:
    """Return what the server at ``url`` answers now; a document that it has not is left out. Raises BadSetting."""
    status, _ = _ask(url, "/sleep?ms=0")
    if status != http.client.OK:
        raise BadSetting(f"{url}/sleep?ms=0 answers with status {status}: is it one of the stacks?")
    digests = {}
    for endpoint in _VARIABLES:
        first, again = (_ask(url, PATHS[endpoint]) for _ in range(2))
        if first[0] == again[0] == http.client.OK:
            if first != again:
                raise BadSetting(f"{url}{PATHS[endpoint]} answers with two different bodies: which one is right?")
            digests[endpoint] = sha256(first[1]).hexdigest()
    return digests


def _ask(url: str, path: str) -> tuple[int, bytes]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=_LAST_REPLIES_S)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read()
    except (OSError, http.client.HTTPException) as error:
        raise BadSetting(
            f"nothing answers at {url} ({error}): start it first, such as with make run-gunicorn-gevent"
        ) from None
    finally:
        connection.close()


def _headless(target: Target, *options: str) -> int:
    folder = target.folder
    record = folder / "record.json"
    command = _command(
        target,
        "--headless", "--only-summary", "--run-time", f"{_run_time_s()}s",
        "--html", str(folder / "report.html"), "--csv", str(folder / "locust"),
        *options,
    )  # fmt: skip
    finds_before = _finds(target)
    started = now()
    stopped = False
    with _locust(command, {**_environment(target), "LOCUST_RECORD": str(record)}, folder) as process:
        try:
            status = process.wait()
        except Stopped:
            stopped = True
            status = _interrupt(process)
    if not record.exists():
        if stopped:
            return _INTERRUPTED
        last = [line for line in (folder / "locust.log").read_text(errors="replace").splitlines() if line.strip()][-1:]
        raise StackFailed(f"locust ended with status {status}: {' '.join(last)} (see {folder})")
    finds = _finds(target)
    counted = finds - finds_before if finds is not None and finds_before is not None else None
    summary = summarise(
        json.loads(record.read_text()),
        counted,
        id=folder.name,
        state="stopped" if stopped else "complete",
        started=started,
        command=_typed(),
        environment=_described(target),
        stack=target.stack.name if target.stack else None,
        target=target.url,
    )
    write_whole(folder / "summary.json", summary.model_dump_json(by_alias=True, indent=1) + "\n")
    record.unlink()
    tell(summary)
    print(f"locust's report, its CSV files, summary.json and the logs: {folder}")
    if stopped:
        return _INTERRUPTED
    return 0 if summary.passed else _FAILED


def _command(target: Target, *options: str) -> list[str]:
    users = whole_number("LOCUST_USERS", _USERS, most=1_000_000)
    rate = os.environ.get("LOCUST_SPAWN_RATE") or str(min(_MOST_SPAWNED_PER_S, max(1, users // _RAMP_UP_S)))
    return [
        sys.executable, "-m", "locust", "-f", FILES,
        "--host", target.url,
        "--users", str(users), "--spawn-rate", rate,
        "--stop-timeout", str(_LAST_REPLIES_S),
        "--logfile", str(target.folder / "locust.log"),
        *options,
    ]  # fmt: skip


def _environment(target: Target) -> dict[str, str]:
    digests = {_VARIABLES[endpoint]: digest for endpoint, digest in target.digests.items()}
    return {**digests, **variables_for_locust(os.environ)}


def variables_for_locust(variables: Mapping[str, str]) -> dict[str, str]:
    # An empty value counts as not set, as everywhere in this project; locust would stumble over it. And a HOME without
    # a .locust.conf, which could make it wait for workers that never come.
    kept = {name: value for name, value in variables.items() if value or not name.startswith("LOCUST_")}
    return {**kept, "HOME": str(HOME)}


_CHECKED_ABOVE = {"LOCUST_USERS", "LOCUST_SPAWN_RATE", "LOCUST_RUN_TIME", "LOCUST_PROCESSES"}


def _check_variables(users_here: bool = True) -> None:
    """Raise BadSetting now for what locust would refuse only when everything is started."""
    users = whole_number("LOCUST_USERS", _USERS, most=1_000_000)
    if users_here:
        require_room(users, [], "LOCUST_USERS")
    whole_number("LOCUST_SPAWN_RATE", 1, most=1_000_000)
    _run_time_s()
    if os.environ.get("LOCUST_PROCESSES") != "-1":
        whole_number("LOCUST_PROCESSES", 1, most=256)
    if not any(name.startswith("LOCUST_") and name not in _CHECKED_ABOVE for name in variables_for_locust(os.environ)):
        return
    done = subprocess.run(
        [sys.executable, "-m", "locust", "-f", FILES, "--list"],
        env=variables_for_locust(os.environ), capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise BadSetting(" ".join(last))


@contextmanager
def _locust(
    command: list[str], environment: dict[str, str], folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run locust in a session of its own inside the block, and leave nothing of it behind."""
    output = (folder / "locust.txt").open("wb") if folder else None
    if output:
        output.write(f"$ {shlex.join(command)}\n".encode())
        output.flush()
    process = subprocess.Popen(
        [*die_with_parent("INT"), *command],
        env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if output:
            output.close()
        if process.poll() is None:
            _interrupt(process)
        for pid in session_members(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _interrupt(process: subprocess.Popen[bytes]) -> int:
    # At SIGINT, not at SIGTERM, locust writes its report.
    process.send_signal(signal.SIGINT)
    try:
        return process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _finds(target: Target) -> int | None:
    if target.database is None:
        return None
    try:
        return target.database.finds()
    except DatabaseGone:
        return None


def _new_folder(name: str) -> Path:
    return dated_folder(RESULTS / "locust", f"-{name}")


def _described(target: Target) -> Environment:
    version = ""
    if target.database:
        with suppress(DatabaseGone):
            version = target.database.version()
    return describe([target.stack.app] if target.stack else [], version)


def _typed() -> str:
    told = [(name, value) for name, value in sorted(os.environ.items()) if value and _TOLD.fullmatch(name)]
    given = [f"{name}={shlex.quote(value)}" for name, value in told]
    return " ".join(["make", "-".join(sys.argv[1:]), *given])


def _run_time_s() -> int:
    # What wrk-NAME and battle call it does as well.
    return duration_s("LOCUST_RUN_TIME" if os.environ.get("LOCUST_RUN_TIME") else "DURATION", "30s")
