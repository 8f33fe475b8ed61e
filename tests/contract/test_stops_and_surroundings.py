"""A stop told twice, a name with two addresses, a share of a CPU, and variables that a server reads by itself."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from loadtests.faults.of_processes import workers_of
from loadtests.faults.quota import cpu_quota
from loadtests.settings import ROOT
from loadtests.stacks.catalogue import Stack
from loadtests.stacks.processes import session_members
from loadtests.stacks.server import Server
from shared.mongod import Mongod, free_port
from shared.seed import seed
from shared.system_packages import Unavailable
from tests.conftest import StartServer, chosen_stacks, log_of, prepared, skipped_without_its_tools
from tests.contract.test_raw_requests import Wire, head
from tests.harness.exchange import ask, wait_until

IN_FLIGHT = 4
TOLD_AGAIN_AFTER_S = 0.3
MANY_FILES = 1_000_000


def test_a_stop_that_is_told_twice_is_one_stop(stack: Stack, start_server: StartServer) -> None:
    """As systemd tells it (KillMode=control-group), a shell, or a supervisor: the group, and then the first process."""
    one_each = stack.finds_each == 1
    with start_server(stack, WEB_CONCURRENCY=str(IN_FLIGHT + 1) if one_each else "") as server:
        if one_each:
            wait_until(lambda: len(workers_of(server)) > IN_FLIGHT, 10, "the workers")
        with ThreadPoolExecutor(IN_FLIGHT) as clients:
            waiting = [clients.submit(ask, server, "/sleep?ms=2000") for _ in range(IN_FLIGHT)]
            _wait_until_accepted(lambda: session_members(server.session), server.port)
            for pid in session_members(server.session):
                os.kill(pid, signal.SIGTERM)
            time.sleep(TOLD_AGAIN_AFTER_S)
            os.kill(server.session, signal.SIGTERM)
            replies = [client.result() for client in waiting]
        assert [(reply.status, reply.body) for reply in replies] == [(200, b'{"slept_ms":2000}')] * IN_FLIGHT
        assert server.stop() == 0
        assert "Traceback" not in log_of(server)


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT, None], ids=["SIGTERM", "SIGINT", "impatient"])
def test_make_run_takes_two_signals_for_one(database_server: Mongod, again: signal.Signals | None) -> None:
    """The group is told, and make passes on what it was told. Only a Ctrl-C of a second later is impatience."""
    stack = next((each for each in chosen_stacks() if each.app.name == "node_app"), chosen_stacks()[0])
    prepared(stack.app)
    port = free_port()
    process = subprocess.Popen(
        ["make", f"run-{stack.name}"],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")},
            "PORT": str(port),
            "MONGODB_URI": database_server.uri,
            "MONGODB_DATABASE": "articles_run",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        server = Server(stack, database_server.uri, port)
        wait_until(lambda: _is_alive(server), 30, "an answer")
        family = [each.pid for each in psutil.Process(process.pid).children(recursive=True)]
        ms = 1500 if again else 4000
        with ThreadPoolExecutor(IN_FLIGHT) as clients:
            waiting = [clients.submit(_status, server, f"/sleep?ms={ms}") for _ in range(IN_FLIGHT)]
            _wait_until_accepted(lambda: family, port)
            os.killpg(process.pid, again or signal.SIGINT)
            time.sleep(TOLD_AGAIN_AFTER_S if again else 1.2)
            os.killpg(process.pid, again or signal.SIGINT)
            statuses = [client.result() for client in waiting]
        assert statuses == ([200] if again else [None]) * IN_FLIGHT
        process.wait(timeout=20)
        wait_until(lambda: not any(map(psutil.pid_exists, family)), 5, "nothing left behind")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def _is_alive(server: Server) -> bool:
    return _status(server, "/sleep?ms=0") == 200


def _status(server: Server, path: str) -> int | None:
    try:
        return server.ask(path, 20)[0]
    except OSError:
        return None


def _wait_until_accepted(pids: Callable[[], Iterable[int]], port: int) -> None:
    def accepted() -> bool:
        present = filter(psutil.pid_exists, pids())
        found = [each for pid in present for each in psutil.Process(pid).net_connections("tcp")]
        return sum(c.status == psutil.CONN_ESTABLISHED and bool(c.laddr) and c.laddr.port == port for c in found) >= 4

    wait_until(accepted, 10, "the accepted connections")
    # On loopback a request follows its connection at once, but the server must have read it.
    time.sleep(0.2)


@pytest.fixture(scope="session")
def two_addresses(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return words before a command that runs it where ``localhost`` is ::1 and 127.0.0.1, as Debian writes it.

    There /dev/shm can only be read, and a process may open very many files, as in some containers.
    """
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no ::1")
    hosts = tmp_path_factory.mktemp("hosts") / "hosts"
    hosts.write_text("127.0.0.1 localhost\n::1 localhost ip6-localhost\n")
    script = f"mount --bind {hosts} /etc/hosts && mount -t tmpfs -o ro none /dev/shm && "
    # Not every root may raise its limit.
    script += f"{{ ulimit -n {MANY_FILES} 2>/dev/null || true; }}"
    words = ["unshare", "--mount", "sh", "-c", f'{script} && exec "$0" "$@"']
    with skipped_without_its_tools():
        if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True).returncode:
            raise Unavailable("a hosts file of its own needs root and unshare")
    return words


def test_each_address_that_is_listened_on_is_a_full_citizen(
    stack: Stack, two_addresses: list[str], database_server: Mongod, tmp_path: Path
) -> None:
    seed(database_server.uri, "articles_two_addresses")
    settings = {"MONGODB_DATABASE": "articles_two_addresses"}
    log = tmp_path / "log"
    server = Server(stack, database_server.uri, free_port(), settings, "localhost", log, within=two_addresses)
    server.start()
    try:
        server.wait_until_ready()
        # uWSGI reserves memory for each file that it may open.
        files = [each.rlimit(psutil.RLIMIT_NOFILE)[0] for each in server.processes() if each.name() == "uwsgi"]
        assert all(limit < MANY_FILES / 10 for limit in files), files
        listened = [host for host in ("127.0.0.1", "::1") if _is_listened_on(host, server.port)]
        assert "127.0.0.1" in listened
        reached = [Server(stack, "", server.port, host=host) for host in listened]
        for path in ("/mongo", "/nothing", "/sleep?ms=x"):
            assert len({each.ask(path, 10) for each in reached}) == 1
        for rubbish in (
            b"GET /mongo HTTP/1.1\r\nHost : x\r\n\r\n",
            # TLS. (Netty waits for more where nothing but control characters came.)
            b"\x16\x03\x01hello\r\n\r\n",
            head(b"/x", b"X: " + b"a" * 70_000),
        ):
            assert len({_refusal(each, rubbish) for each in reached}) == 1
        with ThreadPoolExecutor(2) as clients:
            waiting = [clients.submit(_status, each, "/sleep?ms=1000") for each in reached]
            time.sleep(0.3)
            os.kill(server.session, signal.SIGTERM)
            assert [client.result() for client in waiting] == [200] * len(reached)
        assert server.stop() == 0
    finally:
        server.kill()


def _is_listened_on(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


def _refusal(server: Server, request: bytes) -> tuple[int, bytes]:
    with Wire(server) as wire:
        wire.send(request)
        answer = wire.answer()
        return answer.status, answer.body


# Each would change where or how the server listens, logs or answers, if it were read. Kubernetes sets some by itself.
READ_BY_SERVERS = {
    "uwsgi": {"UWSGI_PORT": "tcp://10.0.0.1:80", "UWSGI_HARAKIRI": "1", "UWSGI_HTTP_SOCKET": "127.0.0.1:1"},
    "gunicorn": {"GUNICORN_CMD_ARGS": "--bind 127.0.0.1:1 --timeout 1 --limit-request-line 30", "SENDFILE": "1"},
    "tornado": {"MOTOR_MAX_WORKERS": "1"},
    "node": {"NODE_OPTIONS": "--max-http-header-size=40", "NODE_CLUSTER_SCHED_POLICY": "none"},
    "play": {"PLAY_HTTP_PORT": "1", "PLAY_HTTP_ADDRESS": "10.0.0.1", "PLAY_HTTPS_PORT": "1"},
}
# Not every stack of the name reads them.
NAMED: dict[str, set[str]] = {"tornado-pymongo": set(), "play": set(), "play-blocking": set()}
# What any of them might take for a setting of its own.
FOR_ALL = {"SCRIPT_NAME": "/x", "FORWARDED_ALLOW_IPS": "*", "LISTEN_FDS": "1", "LISTEN_PID": "1", "FLASK_DEBUG": "1"}
FOR_ALL |= {
    "SERVER_NAME": "x:1",
    "PLAY_HTTP_PORT": "1",
    "FLASK_APP": "nothing",
    "DEBUG": "1",
    "NODE_ENV": "development",
}


def test_variables_that_servers_read_by_themselves_change_nothing(stack: Stack, start_server: StartServer) -> None:
    own = next(variables for name, variables in READ_BY_SERVERS.items() if stack.name.startswith(name))
    with start_server(stack, **(FOR_ALL | own)) as server:
        reply = ask(server, "/mongo?x=" + "y" * 100)
        assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
        assert ask(server, "/nothing").error == "not found"
        assert ask(server, "/sleep?ms=1500").status == 200
        listening = {
            each.laddr.port
            for process in server.processes()
            for each in process.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN and each.laddr.port < 10_000
        }
        assert listening <= {server.port}
        log = log_of(server)
        assert [name for name in NAMED.get(stack.name, own) if name not in log] == []
        assert "x=" + "y" * 100 not in log


@pytest.fixture
def one_cpu() -> Iterator[list[str]]:
    """Give words before a command that run it with a quota of one CPU."""
    with cpu_quota(1) as words:
        if words is None:
            pytest.skip("a cgroup of its own needs root and the controller cpu")
        yield words


@pytest.mark.stacks_that(applies=lambda stack: stack.processes != "1")
def test_the_quota_of_its_cgroup_counts(
    stack: Stack, one_cpu: list[str], database_server: Mongod, tmp_path: Path
) -> None:
    server = Server(stack, database_server.uri, free_port(), log=tmp_path / "log", within=one_cpu)
    with server:
        wait_until(lambda: len(workers_of(server)) >= stack.default_processes(1), 10, "the workers")
        assert len(workers_of(server)) == stack.default_processes(1)
