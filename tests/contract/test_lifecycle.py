"""Start, stop, a worker that dies, and settings that cannot be used."""

import os
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from loadtests.faults.of_processes import workers_of
from loadtests.measure.observer import observe
from loadtests.stacks.catalogue import Stack
from loadtests.stacks.server import Server
from loadtests.stacks.toolchain import environment
from shared.mongod import Mongod, free_port
from tests.conftest import StartServer, log_of
from tests.harness.exchange import ask, wait_until

SECRET = "a-password-that-must-not-be-shown"


# An empty variable is one that is not set: each of these would stop the start otherwise.
EMPTY = dict.fromkeys(("THREADS", "WEB_CONCURRENCY", "MONGODB_MAX_POOL_SIZE", "DB_TIMEOUT_MS", "ACCESS_LOG"), "")


def test_sigterm_answers_what_was_accepted(stack: Stack, start_server: StartServer) -> None:
    with start_server(stack, **EMPTY) as server:
        assert ask(server, "/mongo").status == 200
        idle = [socket.create_connection((server.host, server.port)) for _ in range(2 if stack.keep_alive else 0)]
        with ThreadPoolExecutor(3) as clients:
            waiting = [clients.submit(ask, server, "/sleep?ms=2500") for _ in range(3)]
            _wait_until_accepted(server, 3)
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            replies = [client.result() for client in waiting]
        assert [(reply.status, reply.body) for reply in replies] == [(200, b'{"slept_ms":2500}')] * 3
        assert server.stop() == 0
        for connection in idle:
            connection.close()
        assert "Traceback" not in log_of(server)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.host, server.port))


# What restarts a stack that is one process is what started it.
@pytest.mark.stacks_that(applies=lambda stack: stack.processes != "1")
def test_a_killed_worker_is_replaced(stack: Stack, start_server: StartServer) -> None:
    with start_server(stack, WEB_CONCURRENCY="2") as server:
        wait_until(lambda: workers_of(server), 5, "worker processes")
        before = {process.pid for process in server.processes()}
        victim = workers_of(server)[-1]
        in_flight = 20
        observed = []
        watching = threading.Thread(
            target=lambda: observed.append(observe(server.host, server.port, "/mongo", in_flight, 2, timeout_s=8))
        )
        watching.start()
        # Half a second into two: the load is there, and much of it is still to come.
        time.sleep(0.5)
        victim.kill()
        took_s = wait_until(
            lambda: len({process.pid for process in server.processes()}) >= len(before), 3, "a new worker"
        )
        watching.join()
        assert took_s < 3
        assert {process.pid for process in server.processes()} != before
        # What that worker had accepted is lost, and nothing else: at most one request for each connection.
        assert observed[0].failed <= in_flight
        assert observed[0].asked > 2 * in_flight
        after = observe(server.host, server.port, "/mongo", in_flight, 1)
        assert after.failed == 0
        assert after.asked > 0


BAD_SETTINGS = [
    ("PORT", "abc"),
    ("PORT", "0"),
    ("PORT", "65536"),
    ("WEB_CONCURRENCY", "two"),
    ("WEB_CONCURRENCY", "0"),
    ("THREADS", "0"),
    ("WORKER_CONNECTIONS", "-5"),
    ("MONGODB_MAX_POOL_SIZE", "0"),
    ("DB_TIMEOUT_MS", "1s"),
    ("ACCESS_LOG", "yes"),
    ("MONGODB_DATABASE", "a/b"),
    ("MONGODB_URI", f"http://user:{SECRET}@127.0.0.1"),
    ("MONGODB_URI", f"mongodb://user:{SECRET}@127.0.0.1:notaport"),
]


@pytest.mark.parametrize(("name", "value"), BAD_SETTINGS)
def test_a_bad_setting_stops_the_start(stack: Stack, name: str, value: str) -> None:
    status, lines = _start(stack, {"PORT": str(free_port()), name: value})
    assert status == 2, lines
    assert len(lines) == 1, lines
    assert name in lines[0]
    assert SECRET not in lines[0]


def test_a_used_port_stops_the_start(stack: Stack, server: Server) -> None:
    status, lines = _start(stack, {"PORT": str(server.port)})
    assert status not in (0, None), lines
    assert str(server.port) in " ".join(lines)
    assert not any("Traceback" in line or "\tat " in line for line in lines)
    assert ask(server, "/sleep?ms=0").status == 200


def test_the_log_has_requests_when_asked_for_and_never_a_password(
    stack: Stack, start_server: StartServer, database_server: Mongod
) -> None:
    marker = "?x=a-marker-for-the-access-log"
    uri = f"mongodb://reader:{SECRET}@127.0.0.1:{database_server.port}/?authSource=admin"
    with start_server(stack, uri=uri, ACCESS_LOG="1") as server:
        reply = ask(server, f"/mongo{marker}")
        assert reply.status == 503
        assert SECRET not in reply.body.decode()
        wait_until(lambda: marker in log_of(server), 5, "a line for the request in the log")
    assert SECRET not in log_of(server)


def _start(stack: Stack, settings: dict[str, str], within_s: float = 20) -> tuple[int | None, list[str]]:
    """Run the stack's command and return its exit status and what it wrote; None when it did not end."""
    process = subprocess.Popen(
        stack.command.split(),
        cwd=stack.app.folder,
        env={**environment(stack.app), "MONGODB_URI": "mongodb://127.0.0.1:1", **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return None, output.splitlines()
    left = [other.pid for other in psutil.process_iter() if _session(other.pid) == process.pid]
    assert left == []
    return process.returncode, [line for line in output.splitlines() if line.strip()]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _wait_until_accepted(server: Server, count: int) -> None:
    def accepted() -> bool:
        of_its_processes = [c for process in server.processes() for c in process.net_connections("tcp")]
        established = [c for c in of_its_processes if c.status == psutil.CONN_ESTABLISHED and c.laddr]
        return sum(c.laddr.port == server.port for c in established) >= count

    wait_until(accepted, 10, f"{count} accepted connections")
    # The request follows the connection on loopback at once, but the server must have read it.
    time.sleep(0.3)
