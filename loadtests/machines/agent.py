"""``python -m loadtests agent``: the bench's hands on the machine that the stacks run on.

The bench runs it there over ssh and speaks lines of JSON with its standard input and output: ``{"id": 1, "do":
"start", ...}`` is answered by ``{"id": 1, "result": ...}`` or ``{"id": 1, "error": ..., "text": ...}``. It starts
stacks of the stacks.toml there, one at a time, and runs nothing else. It stops its stack and ends when its input ends,
and when it has heard nothing for a while: a connection that is cut does not say so.
"""

import json
import os
import queue
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from loadtests.machines import leftovers
from loadtests.machines.description import describe
from loadtests.machines.local import Machine
from loadtests.machines.placement import usable_cpus
from loadtests.machines.round_trip import round_trip
from loadtests.measure.watch import Watch
from loadtests.settings import RESULTS, BadSetting
from loadtests.signals import Stopped, stopped_by_signals
from loadtests.stacks import toolchain
from loadtests.stacks.catalogue import apps, named
from loadtests.stacks.server import Server, StackFailed
from shared.system_packages import Unavailable

SILENCE_S = 10.0
"""After so long without a word from the bench, which says one every two seconds, it is taken for gone."""

ERRORS: dict[str, type[Exception]] = {each.__name__: each for each in (StackFailed, BadSetting, Unavailable)}
"""What may go wrong here and is raised again over there, by name."""

_STOP_TIMEOUT_S = 5.0
_LOG_BYTES = 200_000


class Agent:
    """What can be asked for, a method each. At most one server runs at a time."""

    def __init__(self, run: leftovers.Run, folder: Path) -> None:
        self._run = run
        self._log = folder / "server.log"
        self._server: Server | None = None
        self._watch: Watch | None = None
        self._bell: socket.socket | None = None

    def hello(self) -> dict[str, Any]:
        # Over which of this machine's addresses the bench came: the stacks can be reached there too.
        connection = os.environ.get("SSH_CONNECTION", "").split()
        return {
            "name": socket.gethostname(),
            "cpus": usable_cpus(),
            "address": connection[2] if len(connection) == 4 else None,
        }

    def describe(self, app_names: list[str], mongod_version: str) -> dict[str, Any]:
        return describe([apps()[name] for name in app_names], mongod_version).model_dump()

    def prepare(self, app: str) -> None:
        toolchain.prepare(apps()[app])

    def bell(self, host: str) -> int:
        """Listen at ``host`` until ``no_bell``, so that the bench can see how far away it is; return the port."""
        self._bell = _socket_at(host)
        return int(self._bell.getsockname()[1])

    def no_bell(self) -> None:
        if self._bell:
            self._bell.close()

    def round_trip(self, host: str, port: int) -> dict[str, Any]:
        return round_trip(host, port).model_dump()

    def start(self, stack: str, uri: str, settings: dict[str, str], host: str) -> int:
        """Start a stack and return its port; ``ready`` says when it answers."""
        if self._server:
            raise RuntimeError("a server runs already")
        self._log.unlink(missing_ok=True)
        with _socket_at(host) as probe:
            port = int(probe.getsockname()[1])
        server = Server(named([stack])[0], uri, port, {**settings, **self._run.environment}, host=host, log=self._log)
        server.start()
        self._server = server
        self._run.started(server.session)
        return port

    def ready(self) -> None:
        self._running().wait_until_ready()

    def poll(self) -> int | None:
        return self._running().poll()

    def stop(self) -> int:
        server, self._server = self._running(), None
        return server.stop()

    def kill(self) -> None:
        server, self._server = self._running(), None
        server.kill()

    def log(self) -> str:
        if not self._log.exists():
            return ""
        return self._log.read_bytes()[-_LOG_BYTES:].decode(errors="replace")

    def watch(self, step: str) -> Any:
        """Have a method of the running server's Watch called; ``begin`` makes it."""
        if step == "begin":
            self._watch = Machine().watch(self._running())
        if self._watch is None:
            raise RuntimeError("nothing is watched")
        counted = getattr(self._watch, step)()
        return counted.model_dump() if counted else None

    def close(self) -> None:
        """Let nothing of it live on."""
        self.no_bell()
        if self._server:
            with suppress(StackFailed):
                self._server.stop(_STOP_TIMEOUT_S)

    def _running(self) -> Server:
        if self._server is None:
            raise RuntimeError("no server runs")
        return self._server


def serve(requests: BinaryIO, replies: BinaryIO) -> int:
    """Answer ``requests`` until they end; return the exit status. Raises BadSetting while another battle runs here."""
    with ExitStack() as cleanup:
        cleanup.enter_context(leftovers.alone(RESULTS))
        leftovers.end_leftovers(RESULTS)
        run = leftovers.Run(RESULTS)
        cleanup.callback(run.over)
        agent = Agent(run, Path(cleanup.enter_context(TemporaryDirectory(prefix="stack-battle-"))))
        answer = _writer(os.fdopen(os.dup(replies.fileno()), "wb"))
        # A tool that prints must not speak in the replies' place.
        os.dup2(sys.stderr.fileno(), replies.fileno())
        try:
            with stopped_by_signals():
                asked: queue.Queue[dict[str, Any]] = queue.Queue()
                threading.Thread(target=_listen, args=(requests, asked, answer), daemon=True).start()
                while True:
                    _carry_out(agent, asked.get(), answer)
        except Stopped:
            pass
        finally:
            agent.close()
    return 0


def _carry_out(agent: Agent, request: dict[str, Any], answer: Callable[[dict[str, Any]], None]) -> None:
    number, do = request.pop("id"), request.pop("do")
    try:
        result = getattr(agent, do)(**request)
    except tuple(ERRORS.values()) as problem:
        answer({"id": number, "error": type(problem).__name__, "text": str(problem)})
    except Exception as bug:
        answer({"id": number, "error": "bug", "text": f"{do}: {type(bug).__name__}: {bug}"})
    else:
        answer({"id": number, "result": result})


def _listen(requests: BinaryIO, asked: "queue.Queue[dict[str, Any]]", answer: Callable[[dict[str, Any]], None]) -> None:
    """Take requests as they come, also while one is carried out, and end the process when there is nobody any more."""
    unfinished = b""
    try:
        while select.select([requests], [], [], SILENCE_S)[0]:
            block = os.read(requests.fileno(), 65536)
            if not block:
                return
            *lines, unfinished = (unfinished + block).split(b"\n")
            for line in lines:
                request = json.loads(line)
                if request["do"] == "ping":
                    answer({"id": request["id"], "result": None})
                else:
                    asked.put(request)
        print(f"nothing heard from the bench for {SILENCE_S:.0f} s", file=sys.stderr)
    finally:
        # Also when it says what nobody understands.
        os.kill(os.getpid(), signal.SIGTERM)


def _writer(replies: BinaryIO) -> Callable[[dict[str, Any]], None]:
    lock = threading.Lock()

    def write(reply: dict[str, Any]) -> None:
        with lock, suppress(OSError):
            replies.write(json.dumps(reply).encode() + b"\n")
            replies.flush()

    return write


def _socket_at(host: str) -> socket.socket:
    try:
        return socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128)
    except OSError as error:
        raise BadSetting(f"HOST {host} is no address of that machine: {error.strerror}") from None
