"""The machine that the stacks run on: this one, or another that is reached over ssh."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loadtests.machines.agent import ERRORS, SILENCE_S
from loadtests.machines.description import describe
from loadtests.machines.placement import usable_cpus
from loadtests.machines.round_trip import round_trip
from loadtests.measure.database import Database
from loadtests.measure.watch import Watch
from loadtests.settings import ROOT, BadSetting, is_loopback
from loadtests.stacks import toolchain
from loadtests.stacks.catalogue import App, Stack
from loadtests.stacks.processes import die_with_parent
from loadtests.stacks.server import DRAIN_TIMEOUT_S, LOOPBACK, READY_TIMEOUT_S, Server
from shared.address import database_name
from shared.mongod import free_port

_PING_EVERY_S = 2.0
# ssh asks the other side this often, and gives up after so many questions without an answer.
_ALIVE_EVERY_S, _ALIVE_COUNT = 2, 3
_CONNECT_TIMEOUT_S = 10
# `make` there may have to set up the project first, and a stack's set-up may build it.
_SET_UP_TIMEOUT_S = 1800.0
_ANSWER_TIMEOUT_S = 20.0
_STEP = 0.5


class ConnectionLost(Exception):
    """The connection to the other machine broke, or it does not answer. The message is one line."""


class Unreachable(Exception):
    """The other machine cannot be reached, or the bench cannot run there. The message is one line."""


class Machine:
    """This machine: server, database and load generator share it."""

    apart = False

    @property
    def lost(self) -> str | None:
        """Why it cannot be spoken to; None while it can."""
        return None

    def usable_cpus(self) -> list[int]:
        return usable_cpus()

    def require_answer(self) -> None:
        """Raise ConnectionLost when it does not answer."""

    def prepare(self, app: App) -> None:
        toolchain.prepare(app)

    def server(
        self, stack: Stack, uri: str, settings: Mapping[str, str], log: Path, cpus: Sequence[int] | None
    ) -> Server:
        return Server(stack, uri, free_port(), settings, host=LOOPBACK, log=log, cpus=cpus)

    def describe(self, apps: Iterable[App], mongod_version: str) -> dict[str, Any]:
        return describe(apps, mongod_version)

    def close(self) -> None: ...


@dataclass(frozen=True)
class Address:
    """``ssh://user@host:port/path``: where ssh goes, and the folder of the repository there."""

    destination: str
    host: str
    port: int | None
    path: str

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Return what ``text`` says. Raises BadSetting."""
        example = f"SERVER must be such as ssh://user@10.0.0.2 or ssh://user@10.0.0.2:22/home/user/battle, not '{text}'"
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise BadSetting(example) from None
        host = parts.hostname or ""
        safe = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.:%-]*")
        named_well = all(safe.fullmatch(part) for part in (host, parts.username or "x"))
        if parts.scheme != "ssh" or not named_well or parts.password or parts.query or parts.fragment:
            raise BadSetting(example)
        path = parts.path.removeprefix("/~/") if parts.path.rstrip("/") else str(ROOT)
        return cls(f"{parts.username}@{host}" if parts.username else host, host, port, path)

    def command(self) -> list[str]:
        """Return the command that runs the agent there. SSH_OPTIONS are put before the destination."""
        # The repository sets itself up there as it does here; what that prints must not be taken for replies.
        set_up = "make --silent .venv/.ready </dev/null >&2"
        there = f"cd {shlex.quote(self.path)} && {set_up} && exec .venv/bin/python -m loadtests agent"
        return [
            "ssh", "-T",
            # It must not wait for a password that nobody is asked for.
            "-o", "BatchMode=yes",
            "-o", f"ConnectTimeout={_CONNECT_TIMEOUT_S}",
            "-o", f"ServerAliveInterval={_ALIVE_EVERY_S}",
            "-o", f"ServerAliveCountMax={_ALIVE_COUNT}",
            *(["-p", str(self.port)] if self.port else []),
            *shlex.split(os.environ.get("SSH_OPTIONS", "")),
            "--", self.destination, there,
        ]  # fmt: skip


class Link:
    """ssh with an agent at its other end. Thread-safe; ``lost`` says why it is over, None while it works."""

    def __init__(self, address: Address) -> None:
        self._host = address.host
        try:
            self._ssh = subprocess.Popen(
                [*die_with_parent("TERM"), *address.command()],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                # Ctrl-C is for the bench, which then stops the stack over this very connection.
                start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise Unreachable("ssh is missing: install openssh-client") from None
        self.lost: str | None = None
        self._said: deque[str] = deque(maxlen=20)
        self._all_said = threading.Event()
        self._aloud = True
        self._awaited: set[int] = set()
        self._replies: dict[int, dict[str, Any]] = {}
        self._number = 0
        self._news = threading.Condition()
        self._writing = threading.Lock()
        for work in (self._read_replies, self._read_errors, self._ping):
            threading.Thread(target=work, daemon=True).start()

    def quiet(self) -> None:
        """Show no more of what the other side says on its standard error."""
        self._aloud = False

    def ask(self, do: str, timeout_s: float = _ANSWER_TIMEOUT_S, **details: Any) -> Any:
        """Return the result of a request. Raises ConnectionLost, or what the agent raised."""
        number = self._send(do, details, awaited=True)
        deadline = time.monotonic() + timeout_s
        with self._news:
            while number not in self._replies:
                if self.lost:
                    raise ConnectionLost(self.lost)
                left_s = deadline - time.monotonic()
                if left_s < 0:
                    self._lose(f"{self._host} did not answer '{do}' within {timeout_s:.0f} s")
                    raise ConnectionLost(str(self.lost))
                self._news.wait(min(left_s + 0.01, _STEP))
            reply = self._replies.pop(number)
        if "error" not in reply:
            return reply["result"]
        raise ERRORS.get(reply["error"], ConnectionLost)(reply["text"])

    def tell(self, do: str, **details: Any) -> None:
        """Send a request whose reply nobody waits for. Raises ConnectionLost."""
        self._send(do, details, awaited=False)

    def _send(self, do: str, details: dict[str, Any], awaited: bool) -> int:
        with self._writing:
            self._number += 1
            number = self._number
            if awaited:
                self._awaited.add(number)
            if self.lost:
                raise ConnectionLost(self.lost)
            assert self._ssh.stdin is not None
            try:
                self._ssh.stdin.write(json.dumps({"id": number, "do": do, **details}).encode() + b"\n")
                self._ssh.stdin.flush()
            except OSError:
                self._lose(self._reason())
        return number

    def close(self) -> None:
        """End the agent, which stops its stack, and ssh."""
        assert self._ssh.stdin is not None
        with self._writing:
            self._lose("the connection was closed")
            with suppress(OSError):
                self._ssh.stdin.close()
        try:
            self._ssh.wait(DRAIN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._ssh.kill()
            self._ssh.wait()

    def abandon(self) -> None:
        """Give up a connection that does not work; the agent notices by itself."""
        self._lose("the connection was given up")
        self._ssh.kill()
        self._ssh.wait()

    def _read_replies(self) -> None:
        assert self._ssh.stdout is not None
        for line in self._ssh.stdout:
            try:
                reply = json.loads(line)
                number = int(reply["id"])
            except (ValueError, TypeError, KeyError):
                # What a login script prints comes before the agent's first word.
                continue
            with self._news:
                if number in self._awaited:
                    self._awaited.remove(number)
                    self._replies[number] = reply
                    self._news.notify_all()
        self._lose(self._reason())

    def _read_errors(self) -> None:
        assert self._ssh.stderr is not None
        for line in self._ssh.stderr:
            text = line.decode(errors="replace").strip()
            if text:
                self._said.append(text)
                if self._aloud:
                    print(f"{self._host}: {text}", file=sys.stderr, flush=True)
        self._all_said.set()

    def _ping(self) -> None:
        """Say a word every now and then, and notice when none comes back."""
        while not self.lost:
            sent = time.monotonic()
            try:
                # Before its first word the other side may be setting itself up, which takes as long as it takes.
                self.ask("ping", SILENCE_S if not self._aloud else _SET_UP_TIMEOUT_S)
            except ConnectionLost:
                return
            with self._news:
                while not self.lost and time.monotonic() < sent + _PING_EVERY_S:
                    self._news.wait(_STEP)

    def _lose(self, why: str) -> None:
        with self._news:
            self.lost = self.lost or why
            self._news.notify_all()

    def _reason(self) -> str:
        try:
            status = self._ssh.wait(1)
        except subprocess.TimeoutExpired:
            return f"the connection to {self._host} broke"
        self._all_said.wait(1)
        last = f": {self._said[-1]}" if self._said else ""
        return f"the connection to {self._host} ended (ssh's status {status}){last}"


class RemoteWatch:
    """A Watch on the other machine."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def begin(self) -> None:
        self._link.ask("watch_begin")

    def sample(self) -> None:
        # Nobody waits for it: the measurement goes on here, and a lost connection is noticed all the same.
        self._link.tell("watch_sample")

    def end(self) -> None:
        self._link.ask("watch_end")

    def cost(self, wall_s: float, requests: int) -> dict[str, Any]:
        return self._link.ask("watch_cost", wall_s=wall_s, requests=requests)  # type: ignore[no-any-return]

    def machine(self, ours_s: float) -> dict[str, Any]:
        return self._link.ask("watch_machine", ours_s=ours_s)  # type: ignore[no-any-return]


class RemoteServer(Server):
    """A stack on the other machine; the same, by wire. Everything may raise ConnectionLost."""

    def __init__(
        self, link: Link, stack: Stack, uri: str, settings: Mapping[str, str], listen: str, host: str, log: Path
    ) -> None:
        super().__init__(stack, uri, 0, settings, host=host, log=log)
        self._link = link
        self._uri = uri
        self._settings = dict(settings)
        self._listen = listen
        self._over = False

    def start(self) -> None:
        self.port = self._link.ask(
            "start", stack=self.stack.name, uri=self._uri, settings=self._settings, host=self._listen
        )

    def wait_until_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        self._link.ask("ready", timeout_s + _ANSWER_TIMEOUT_S)

    def poll(self) -> int | None:
        return self._link.ask("poll")  # type: ignore[no-any-return]

    def stop(self, timeout_s: float = DRAIN_TIMEOUT_S) -> int:
        """Stop it; where the connection is lost that is the agent's to do."""
        return self._end("stop") or 0

    def kill(self) -> None:
        self._end("kill")

    def _end(self, how: str) -> int | None:
        if self._over or self._link.lost:
            return None
        self._over = True
        try:
            return self._link.ask(how, DRAIN_TIMEOUT_S + _ANSWER_TIMEOUT_S)  # type: ignore[no-any-return]
        finally:
            self._fetch_log()

    def watch(self) -> Watch:
        return RemoteWatch(self._link)  # type: ignore[return-value]

    def _fetch_log(self) -> None:
        if self._link.lost is None and self.log:
            with self.log.open("a") as file:
                file.write(self._link.ask("log"))


class RemoteMachine(Machine):
    """Another machine, with the repository there. The stacks listen on ``listen``, an address of it.

    Raises ConnectionLost, Unreachable or BadSetting when it cannot be used.
    """

    apart = True

    def __init__(self, address: Address, listen: str | None) -> None:
        self.address = address
        self._link = Link(self.address)
        hello = self._link.ask("hello", _SET_UP_TIMEOUT_S)
        self._link.quiet()
        self._cpus: list[int] = hello["cpus"]
        self.name: str = hello["name"]
        self.listen: str = listen or hello["address"] or address.host
        everywhere = self.listen in ("0.0.0.0", "::")
        self.host = address.host if everywhere else self.listen

    @property
    def lost(self) -> str | None:
        return self._link.lost

    def usable_cpus(self) -> list[int]:
        return self._cpus

    def require_answer(self) -> None:
        self._link.ask("hello")

    def prepare(self, app: App) -> None:
        self._working().ask("prepare", _SET_UP_TIMEOUT_S, app=app.name)

    def server(
        self, stack: Stack, uri: str, settings: Mapping[str, str], log: Path, cpus: Sequence[int] | None
    ) -> Server:
        # Here it is inherited; there nobody has set it.
        settings = {"MONGODB_DATABASE": database_name(), **settings}
        return RemoteServer(self._working(), stack, uri, settings, self.listen, self.host, log)

    def describe(self, apps: Iterable[App], mongod_version: str) -> dict[str, Any]:
        names = [app.name for app in apps]
        environment: dict[str, Any] = self._working().ask(
            "describe", 3 * _ANSWER_TIMEOUT_S, app_names=names, mongod_version=mongod_version
        )
        # wrk runs here.
        environment["versions"]["wrk"] = describe([], "")["versions"]["wrk"]
        return environment

    def round_trips(self, database: tuple[str, int]) -> dict[str, Any]:
        """Return the round trips between the three, in milliseconds. Raises BadSetting for a way that is closed."""
        link = self._working()
        port = link.ask("bell", host=self.listen)
        try:
            to_server = round_trip(self.host, port)
        except OSError as error:
            raise BadSetting(
                f"{self.host}:{port} on {self.address.host} cannot be reached from here ({error.strerror or error}): "
                "set HOST to an address of it that can be, and open its firewall for this machine"
            ) from None
        finally:
            link.ask("no_bell")
        try:
            to_database = round_trip(*database)
        except OSError as error:
            where = f"{database[0]}:{database[1]}"
            raise BadSetting(f"{where} cannot be reached from here: {error.strerror or error}") from None
        return {
            "client_server": to_server,
            "client_database": to_database,
            "server_database": link.ask("round_trip", 4 * _ANSWER_TIMEOUT_S, host=database[0], port=database[1]),
        }

    def machines(self, database: Database, environment: dict[str, Any]) -> dict[str, Any]:
        """Return the ``machines`` part of results.json; ``environment`` describes this one. Raises as round_trips."""
        return {
            "client": {"name": socket.gethostname(), **_short(describe([], ""))},
            "server": {"name": self.name, **_short(environment), "listens_at": self.listen},
            "database": database.host(),
            "round_trip_ms": self.round_trips(database.address()),
        }

    def close(self) -> None:
        self._link.close()

    def _working(self) -> Link:
        """Return a connection that works: the one there is, or a new one when that was lost. Raises Unreachable."""
        if self._link.lost is None:
            return self._link
        self._link.abandon()
        # The agent of the lost connection stops its stack before another can take its place.
        deadline = time.monotonic() + SILENCE_S + DRAIN_TIMEOUT_S
        while True:
            link = Link(self.address)
            link.quiet()
            try:
                link.ask("hello", _CONNECT_TIMEOUT_S + _ANSWER_TIMEOUT_S)
            except (ConnectionLost, BadSetting) as problem:
                link.abandon()
                if time.monotonic() > deadline:
                    raise Unreachable(f"{self.address.host} cannot be reached any more: {problem}") from None
                time.sleep(_STEP)
            else:
                self._link = link
                return link


def _short(environment: dict[str, Any]) -> dict[str, Any]:
    return {name: environment[name] for name in ("cpu_model", "cpus_usable", "memory_bytes", "kernel", "git")}


def machine_from_environment() -> Machine:
    """Return the machine that SERVER names, by default this one.

    Raises BadSetting, for a machine that cannot be reached or used too.
    """
    text = os.environ.get("SERVER")
    if not text:
        return Machine()
    address = Address.parse(text)
    _require_shared_database()
    for name in ("CPUS_SERVER", "CPUS_DB", "CPUS_LOAD"):
        if os.environ.get(name):
            raise BadSetting(f"{name} shares out one machine; with SERVER each part has a machine of its own")
    try:
        return RemoteMachine(address, os.environ.get("HOST") or None)
    except (ConnectionLost, Unreachable) as problem:
        raise BadSetting(f"SERVER {text} cannot be used: {problem}") from None


def _require_shared_database() -> None:
    uri = os.environ.get("MONGODB_URI")
    if not uri:
        raise BadSetting("SERVER needs MONGODB_URI: the address of a MongoDB that this machine and that one can reach")
    hosts = re.sub(r"^[a-z+]+://(?:[^@/]*@)?", "", uri).split("/")[0]
    for host in hosts.split(","):
        name = host.rsplit(":", 1)[0].strip("[]")
        if is_loopback(name):
            raise BadSetting(f"MONGODB_URI names {name}, which is another machine for the server than for this one")
