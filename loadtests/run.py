"""``make run-NAME`` and ``make wrk-NAME``: one stack by hand."""

import signal
import subprocess
import time
from types import FrameType

from loadtests.measure.wrk import Load
from loadtests.settings import duration_s, endpoints, whole_number
from loadtests.signals import Stopped, stopped_by_signals
from loadtests.stacks.bodies import PATHS
from loadtests.stacks.by_hand import prepared, say
from loadtests.stacks.catalogue import Stack
from loadtests.stacks.room import require_room
from loadtests.stacks.server import Server
from shared.system_packages import require

_STOPPED = 0
# A second Ctrl-C that comes sooner is the first one, told twice.
_IMPATIENT_AFTER_S = 1.0


def run(stack: Stack) -> int:
    """Serve in the foreground until a signal or the server's own end; return the exit status."""
    server, _ = prepared(stack)
    # The drain is inside too: a terminal that closes sends SIGHUP twice.
    with stopped_by_signals():
        try:
            server.start()
            server.wait_until_ready()
            say(_invitation(server))
            status = server.wait()
        except Stopped:
            say(f"{stack.name}: answering what was accepted, then stopping (Ctrl-C once more to stop at once)")
            _drain(server)
            return _STOPPED
    say(f"{stack.name} ended by itself with status {status}")
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
    require_room(load.connections, [stack])
    require(["wrk"])
    server, _ = prepared(stack)
    with stopped_by_signals(), server:
        for endpoint in chosen:
            command = load.command(f"{server.url}{PATHS[endpoint]}")
            say(f"\n$ {' '.join(command)}")
            status = subprocess.run(command).returncode
            if status:
                return status
    return 0


def _invitation(server: Server) -> str:
    return (
        f"\n{server.stack.name} answers at {server.url} (Ctrl-C stops it). From another terminal:\n"
        f"  curl -i {server.url}/mongo\n"
        f"  wrk -t1 -c200 -d30s --latency {server.url}/mongo\n"
    )


def _drain(server: Server) -> None:
    asked_s = time.monotonic()

    def interrupt(number: int, frame: FrameType | None) -> None:
        # Of a terminal, a supervisor and make, each tells the whole group or passes on what it was told: one stop.
        if time.monotonic() - asked_s >= _IMPATIENT_AFTER_S:
            server.kill()

    signal.signal(signal.SIGINT, interrupt)
    server.stop()
