"""``make run-NAME`` and ``make wrk-NAME``: one stack by hand."""

import os
import signal
import subprocess
import sys
from types import FrameType

from loadtests.measure.wrk import Load
from loadtests.settings import duration_s, endpoints, is_loopback, whole_number
from loadtests.signals import Stopped, stopped_by_signals
from loadtests.stacks import toolchain
from loadtests.stacks.bodies import PATHS
from loadtests.stacks.catalogue import Stack
from loadtests.stacks.server import LOOPBACK, Server, require_free_port
from shared.address import database_name, database_uri, without_password
from shared.seed import NotSeeded, seed
from shared.system_packages import require

_STOPPED = 0


def run(stack: Stack) -> int:
    """Serve in the foreground until a signal or the server's own end; return the exit status."""
    server = _prepared(stack)
    # The drain is inside too: a terminal that closes sends SIGHUP twice.
    with stopped_by_signals():
        try:
            server.start()
            server.wait_until_ready()
            _say(_invitation(server))
            status = server.wait()
        except Stopped:
            _say(f"{stack.name}: answering what was accepted, then stopping (again to stop at once)")
            _drain(server)
            return _STOPPED
    _say(f"{stack.name} ended by itself with status {status}")
    return status or 1


def load_by_hand(stack: Stack) -> int:
    """Start the stack, show wrk's own tables for each endpoint, stop it; return the exit status."""
    load = Load(
        connections=whole_number("CONNECTIONS", 200),
        duration_s=duration_s("DURATION", "30s"),
        threads=whole_number("THREADS_WRK", 1, most=64),
        timeout_s=duration_s("TIMEOUT", "10s"),
    )
    chosen = endpoints()
    require(["wrk"])
    server = _prepared(stack)
    try:
        with stopped_by_signals(), server:
            for endpoint in chosen:
                command = load.command(f"{server.url}{PATHS[endpoint]}")
                _say(f"\n$ {' '.join(command)}")
                status = subprocess.run(command).returncode
                if status:
                    return status
    except Stopped:
        return 128 + signal.SIGINT
    return 0


def _prepared(stack: Stack) -> Server:
    host = os.environ.get("HOST") or LOOPBACK
    port = whole_number("PORT", 5000, most=65535)
    require_free_port(host, port)
    toolchain.prepare(stack.app)
    uri = database_uri()
    try:
        seed(uri, database_name())
    except NotSeeded as reason:
        # Somebody's own documents are there to be served; a database that is down may come up later.
        _say(f"not seeded: {reason}")
    _say(f"{stack.title}; database {without_password(uri)}")
    if not is_loopback(host):
        _say(f"HOST={host} can be reached from other machines: whoever reaches it is served, with no login and no TLS")
    return Server(stack, uri, port, host=host)


def _invitation(server: Server) -> str:
    return (
        f"\n{server.stack.name} answers at {server.url} (Ctrl-C stops it). From another terminal:\n"
        f"  curl -i {server.url}/mongo\n"
        f"  wrk -t1 -c200 -d30s --latency {server.url}/mongo\n"
    )


def _drain(server: Server) -> None:
    def kill(number: int, frame: FrameType | None) -> None:
        server.kill()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, kill)
    server.stop()


def _say(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        # The terminal is gone; the server is stopped all the same.
        return
