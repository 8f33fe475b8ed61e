"""What can happen to a server's own processes: a kill, signals, a terminal that closes, no files left, a full disk."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from loadtests.faults.arena import (
    CLIENTS,
    GRACE_S,
    Arena,
    DoesNotApply,
    Finding,
    judge,
    require_clean_log,
    require_healthy,
    seconds_until,
    status_of,
    told,
)
from loadtests.faults.crowd import Crowd
from loadtests.faults.quota import cpu_quota
from loadtests.results.counts import Outcome
from loadtests.settings import ROOT
from loadtests.stacks.processes import pinned_to, session_members
from loadtests.stacks.server import DRAIN_TIMEOUT_S, LOOPBACK, Server
from shared.mongod import free_port

_SIGNAL_AT_S = 1.0
_WORKER_BACK_WITHIN_S = 3.0
_GONE_WITHIN_S = DRAIN_TIMEOUT_S
_FEW_FILES = 64
# While requests of 0.3 s are under way.
_TOLD_AGAIN_AFTER_S = 0.1
_STARTS = 3
_LITTLE_CPUS = 0.5
_LITTLE_LOAD_S = 2.0
_DISK_FULL = Path("/dev/full")


def worker_killed(arena: Arena) -> Finding:
    with arena.server(WEB_CONCURRENCY="2") as server:
        workers = workers_of(server)
        if not workers:
            raise DoesNotApply("one process: what restarts it is what started it")
        before = len(server.processes())
        # So slow that some are under way in the worker, whenever it dies.
        with arena.load(server, path="/sleep?ms=100", clients=8, fresh=True) as load:
            load.wait_until(_SIGNAL_AT_S)
            workers[-1].kill()
            killed_s = load.now_s
            pids = {process.pid for process in server.processes()}
            back_s = seconds_until(
                lambda: len(server.processes()) >= before and {each.pid for each in server.processes()} != pids,
                _WORKER_BACK_WITHIN_S,
            )
            load.wait_until(killed_s + _WORKER_BACK_WITHIN_S + 1)
        finding = judge(load.requests, killed_s + _WORKER_BACK_WITHIN_S, allowed=("200", "reset"))
        lost = finding.outcomes.get("reset", 0)
        finding.require(back_s is not None, f"no new worker within {_WORKER_BACK_WITHIN_S:.0f} s")
        finding.require(lost <= 8, f"{lost} requests lost by one worker with at most 8 in flight")
        finding.seen = told(finding) + (f", new worker after {back_s:.1f} s" if back_s is not None else "")
        require_clean_log(arena, finding)
        return finding


def sigterm(arena: Arena) -> Finding:
    return _stopped_by(arena, signal.SIGTERM)


def sigint(arena: Arena) -> Finding:
    return _stopped_by(arena, signal.SIGINT)


def told_twice(arena: Arena) -> Finding:
    """SIGTERM to every process, as systemd stops a service, and once more to the first, as who started it may."""
    return _stopped_by(arena, signal.SIGTERM, twice=True)


def sighup(arena: Arena) -> Finding:
    """gunicorn takes it as: read the settings again, with new workers. For the others it means stop."""
    if "gunicorn" not in arena.stack.name:
        return _stopped_by(arena, signal.SIGHUP)
    with arena.server() as server:
        before = {process.pid for process in workers_of(server)}
        with arena.load(server, path="/sleep?ms=200", fresh=True) as load:
            load.wait_until(_SIGNAL_AT_S)
            os.kill(server.session, signal.SIGHUP)
            renewed_s = seconds_until(lambda: not before & {process.pid for process in workers_of(server)}, 14)
            load.wait_until(load.now_s + 1)
        finding = judge(load.requests, 0.0, allowed=("200",))
        finding.require(renewed_s is not None, "the workers were not renewed")
        finding.seen = f"reloads: {told(finding)}"
        require_clean_log(arena, finding)
        return finding


def _stopped_by(arena: Arena, number: int, twice: bool = False) -> Finding:
    """Send the signal while requests of 0.3 s are under way: what was accepted is answered, then all is gone."""
    with arena.server() as server:
        status_of(server, "/mongo")
        with arena.load(server, path="/sleep?ms=300", clients=8 if arena.stack.model != "processes" else 4) as load:
            load.wait_until(_SIGNAL_AT_S)
            asked_s = load.now_s
            if twice:
                for process in server.processes():
                    process.send_signal(number)
                load.wait_until(asked_s + _TOLD_AGAIN_AFTER_S)
            with suppress(ProcessLookupError):
                os.kill(server.session, number)
            ended_s = seconds_until(lambda: server.poll() is not None, _GONE_WITHIN_S)
        finding = Finding(seen="")
        requests = load.requests
        # What is asked after the signal may be refused, or be reset in the queue of a socket that closes.
        lost = sum(request.asked_s < asked_s and request.outcome is not Outcome.OK for request in requests)
        answered = sum(request.asked_s <= asked_s < request.ended_s and request.status == 200 for request in requests)
        finding.require(lost == 0, f"{lost} accepted requests were lost")
        finding.require(ended_s is not None, f"still there after {_GONE_WITHIN_S} s")
        if number == signal.SIGTERM:
            finding.require(server.poll() == 0, f"exit status {server.poll()}")
        left = seconds_until(lambda: not session_members(server.session), 2) is None
        finding.require(not left, "processes were left behind")
        finding.seen = f"{answered} under way answered, {lost} lost" + (
            f", gone after {ended_s:.1f} s" if ended_s is not None else ""
        )
        require_clean_log(arena, finding)
        return finding


def terminal_dies(arena: Arena) -> Finding:
    """``make run-NAME`` in a terminal that is closed."""
    if shutil.which("script") is None:
        raise DoesNotApply("needs `script` (Debian package bsdutils)")
    database = arena.start_database()
    port = free_port()
    command = f"{shlex.quote(sys.executable)} -m loadtests run {arena.stack.name}"
    terminal = subprocess.Popen(
        ["script", "--quiet", "--command", command, "/dev/null"],
        cwd=ROOT,
        env={**os.environ, "PORT": str(port), "HOST": LOOPBACK, "MONGODB_URI": database.uri},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    server = Server(arena.stack, database.uri, port)
    try:
        finding = Finding(seen="")
        up = seconds_until(lambda: status_of(server, "/sleep?ms=0", 2)[0] == 200, 30)
        started = psutil.Process(terminal.pid).children(recursive=True)
        finding.require(up is not None, "make run did not serve")
        terminal.kill()
        terminal.wait()
        gone_s = seconds_until(lambda: not any(process.is_running() for process in started), 20)
        finding.require(gone_s is not None, "processes were left behind")
        for process in started:
            if process.is_running():
                process.kill()
        finding.seen = f"all gone after {gone_s:.1f} s" if gone_s is not None else "processes were left behind"
        return finding
    finally:
        with suppress(ProcessLookupError):
            os.killpg(terminal.pid, signal.SIGKILL)


def few_descriptors(arena: Arena) -> Finding:
    """``ulimit -n 64`` and 200 clients."""
    if arena.stack.app.name == "play_app":
        raise DoesNotApply(f"a JVM cannot start with {_FEW_FILES} open files: its classes are in more")
    limit = ("prlimit", f"--nofile={_FEW_FILES}:{_FEW_FILES}", "--")
    # Where a thread is held by a connection, it needs files of its own: the stack refuses to start with more.
    threads = "8" if arena.stack.thread_per_connection else ""
    with arena.watched(1, within=limit, THREADS=threads) as (server, watched):
        with Crowd(server.host, server.port, 200, b"GET /mongo HTTP/1.1\r\nHost: x\r\n\r\n") as crowd:
            held = crowd.open
            with arena.load(server, clients=2, fresh=True, timeout_s=2) as load:
                load.wait_until(2)
        finding = Finding(seen="", outcomes=judge(load.requests, 0).outcomes)
        finding.normal_after_s = require_healthy(server, finding, "the clients left")
        finding.require("500" not in finding.outcomes, "500 instead of 503")
        watched.require_unharmed(finding)
        finding.seen = f"{held} held on, others: {told(finding) or 'normal at once'}"
        return finding


def little_cpu(arena: Arena) -> Finding:
    """Half a CPU, or one CPU where nobody may make a cgroup: what is slow at the start is not given up for ever."""
    finding = Finding(seen="")
    healthy: list[float] = []
    with cpu_quota(_LITTLE_CPUS) as quota:
        within = quota or pinned_to([min(os.sched_getaffinity(0))])
        for _ in range(_STARTS):
            with arena.server(within=within) as server:
                healthy_s = require_healthy(server, finding, "its start")
                healthy += [] if healthy_s is None else [healthy_s]
                with arena.load(server, clients=2) as load:
                    load.wait_until(_LITTLE_LOAD_S)
            served = judge(load.requests, 0.0, allowed=("200",), hangs_after_s=GRACE_S)
            finding.broken += served.broken
            require_clean_log(arena, finding)
    where = f"{_LITTLE_CPUS} CPUs" if quota else "one CPU"
    longest = f", the longest within {max(healthy):.1f} s" if healthy else ""
    finding.seen = f"{where}: {len(healthy)} of {_STARTS} starts gave documents{longest}"
    return finding


def log_disk_full(arena: Arena) -> Finding:
    """A line is logged for each request, and no write succeeds."""
    with arena.server(log=_DISK_FULL, ACCESS_LOG="1") as server, arena.load(server, clients=CLIENTS) as load:
        load.wait_until(2)
    return judge(load.requests, 0.0, allowed=("200",), hangs_after_s=GRACE_S)


def workers_of(server: Server) -> list[psutil.Process]:
    """Return the processes that serve requests: the youngest generation, uWSGI's router left out."""
    processes = server.processes()
    parents = {process.ppid() for process in processes}
    children = [each for each in processes if each.pid not in parents and each.pid != server.session]
    return [child for child in children if not _listens_as_router(server, child)]


def _listens_as_router(server: Server, process: psutil.Process) -> bool:
    if server.stack.name != "uwsgi-gevent":
        return False
    return any(
        each.status == psutil.CONN_LISTEN and each.laddr.port == server.port for each in process.net_connections("tcp")
    )
