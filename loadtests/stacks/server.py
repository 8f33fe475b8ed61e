"""A stack as a running server: started in a session of its own, waited for, drained, and never left behind."""

import errno
import http.client
import os
import resource
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from loadtests.settings import BadSetting, authority
from loadtests.stacks.catalogue import Stack
from loadtests.stacks.processes import die_with_parent, pinned_to, session_members
from loadtests.stacks.toolchain import environment
from shared.environment import OF_EVERY_JVM
from shared.said import without_secrets

LOOPBACK = "127.0.0.1"
READY_TIMEOUT_S = 30
# The longest /sleep is 10 s, and a drain answers it.
DRAIN_TIMEOUT_S = 15
_TAIL_LINES = 12


class StackFailed(Exception):
    """A stack did not start, stopped by itself, or did not stop. The message says which and ends with its log."""


class Server:
    """A started stack. As a context manager it is ready inside the block and gone after it.

    ``log`` takes what it writes; without one it writes to this process's own output. ``cpus`` pins it. ``within`` are
    words before its command, such as a limit.
    """

    def __init__(
        self,
        stack: Stack,
        mongodb_uri: str,
        port: int,
        settings: Mapping[str, str] | None = None,
        host: str = LOOPBACK,
        log: Path | None = None,
        cpus: Sequence[int] | None = None,
        within: Sequence[str] = (),
    ) -> None:
        self.stack = stack
        self.mongodb_uri = mongodb_uri
        self.host = host
        self.port = port
        self.log = log
        self._cpus = cpus
        self._within = within
        # A JVM repeats these in its log, with the passwords of proxies. They are for builds; JAVA_OPTS is the server's.
        inherited = {name: value for name, value in environment(stack.app).items() if name not in OF_EVERY_JVM}
        self._environment = {
            **inherited,
            "HOST": host,
            "PORT": str(port),
            "MONGODB_URI": mongodb_uri,
            **(settings or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{authority(self.host, self.port)}"

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the stack's command in its app's folder, in a new session.

        Should this process be killed, the kernel sends the server SIGTERM.
        """
        raise_open_file_limit()
        output = self.log.open("ab") if self.log else None
        try:
            self.process = subprocess.Popen(
                [*die_with_parent("TERM"), *pinned_to(self._cpus), *self._within, *shlex.split(self.stack.command)],
                cwd=self.stack.app.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except FileNotFoundError as missing:
            raise StackFailed(f"{self.stack.name}: {missing.filename} is not there") from None
        finally:
            if output:
                output.close()

    def wait_until_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until ``/sleep?ms=0`` is answered. Raises StackFailed when the server ends or the time is up."""
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            status = self._running().poll()
            if status is not None:
                raise StackFailed(f"{self.stack.name} ended with status {status} at its start{self.tail()}")
            if time.monotonic() > deadline:
                raise StackFailed(f"{self.stack.name} did not answer within {timeout_s:.0f} s{self.tail()}")
            time.sleep(0.05)

    def wait(self) -> int:
        """Wait until the server ends by itself and return its exit status."""
        return self._running().wait()

    def poll(self) -> int | None:
        """Return the exit status if the server has ended, else None."""
        return self._running().poll()

    @property
    def session(self) -> int:
        """The id of the session that everything of the server is in: its first process."""
        return self._running().pid

    def stop(self, timeout_s: float = DRAIN_TIMEOUT_S) -> int:
        """Send SIGTERM, wait for the drain, and return the exit status.

        Raises StackFailed, everything of it being killed by then, when it does not end in time or leaves processes.
        """
        process = self._running()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise StackFailed(f"{self.stack.name} did not stop within {timeout_s:.0f} s{self.tail()}") from None
        if self._left_behind(grace_s=2):
            self.kill()
            raise StackFailed(f"{self.stack.name} left processes behind when it stopped{self.tail()}")
        return status

    def kill(self) -> None:
        """Kill everything in the server's session, now."""
        process = self._running()
        for pid in session_members(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def processes(self) -> list[psutil.Process]:
        """Return the server's processes, the first one first."""
        found = []
        for pid in session_members(self.session):
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
        return sorted(found, key=lambda process: process.pid != self.session)

    def ask(self, path: str, timeout_s: float) -> tuple[int, str | None, bytes]:
        """Return status, content type and body of one reply. Raises OSError or HTTPException where none comes."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.getheader("Content-Type"), reply.read()
        finally:
            connection.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise RuntimeError("the server was not started")
        return self.process

    def _left_behind(self, grace_s: float) -> bool:
        deadline = time.monotonic() + grace_s
        while session_members(self.session):
            if time.monotonic() > deadline:
                return True
            time.sleep(0.05)
        return False

    def _answers(self) -> bool:
        try:
            return self.ask("/sleep?ms=0", timeout_s=2)[0] == http.client.OK
        except (OSError, http.client.HTTPException):
            return False

    def tail(self) -> str:
        """Return the last lines of the log, each on an indented line of its own; nothing without a log."""
        if self.log is None or not self.log.is_file():
            return ""
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return "".join(f"\n    {line}" for line in without_secrets("\n".join(lines)).splitlines())


def require_free_port(host: str, port: int) -> None:
    """Raise BadSetting when something listens on ``port`` already, at any address of ``host``."""
    refusals: list[OSError | UnicodeError] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, _, _, address in found:
            try:
                with socket.socket(family, kind) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(address)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    what_to_do = "stop what listens there, or set another PORT"
                    raise BadSetting(f"PORT {port} is in use on {host}: {what_to_do}") from None
                refusals.append(error)
    except (OSError, UnicodeError) as error:
        found, refusals = [], [error]
    # A name may have an address of a kind that this machine lacks.
    if len(refusals) >= len(found):
        reason = getattr(refusals[0], "strerror", None) or refusals[0]
        raise BadSetting(f"HOST {host}, PORT {port} cannot be listened on: {reason}")


def raise_open_file_limit() -> None:
    """Allow this process and its children as many open files as the hard limit: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
