"""Another machine that the stacks run on, reached over ssh: the same steps, by wire."""

import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from loadtests.machines.agent import SILENCE_S
from loadtests.machines.description import describe, wrk_version
from loadtests.machines.link import (
    ANSWER_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    SET_UP_TIMEOUT_S,
    Address,
    ConnectionLost,
    Link,
    Unreachable,
)
from loadtests.machines.local import Machine
from loadtests.machines.round_trip import round_trip
from loadtests.measure.database import Database
from loadtests.measure.watch import Watch
from loadtests.results.battle import Environment, Machines, RoundTrip, RoundTrips
from loadtests.results.counts import MachineTimes, Usage
from loadtests.settings import BadSetting, is_loopback
from loadtests.stacks.catalogue import App, Stack
from loadtests.stacks.server import DRAIN_TIMEOUT_S, READY_TIMEOUT_S, Server
from shared.address import brought_by_user, database_name

_TRY_AGAIN_AFTER_S = 0.5


class RemoteWatch(Watch):
    """A Watch on the other machine."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def begin(self) -> None:
        self._link.ask("watch", step="begin")

    def sample(self) -> None:
        # Nobody waits for it: the measurement goes on here, and a lost connection is noticed all the same.
        self._link.tell("watch", step="sample")

    def end(self) -> None:
        self._link.ask("watch", step="end")

    def usage(self) -> Usage:
        return Usage.model_validate(self._link.ask("watch", step="usage"))

    def machine(self) -> MachineTimes:
        return MachineTimes.model_validate(self._link.ask("watch", step="machine"))


class RemoteServer(Server):
    """A stack on the other machine; the same, by wire. Everything may raise ConnectionLost."""

    def __init__(
        self, link: Link, stack: Stack, uri: str, settings: Mapping[str, str], listen: str, host: str, log: Path
    ) -> None:
        super().__init__(stack, uri, 0, settings, host=host, log=log)
        self._link = link
        self._settings = dict(settings)
        self._listen = listen
        self._over = False

    def start(self) -> None:
        self.port = self._link.ask(
            "start", stack=self.stack.name, uri=self.mongodb_uri, settings=self._settings, host=self._listen
        )

    def wait_until_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        self._link.ask("ready", timeout_s + ANSWER_TIMEOUT_S)

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
            return self._link.ask(how, DRAIN_TIMEOUT_S + ANSWER_TIMEOUT_S)  # type: ignore[no-any-return]
        finally:
            self._fetch_log()

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
        hello = self._link.ask("hello", SET_UP_TIMEOUT_S)
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
        self._working().ask("prepare", SET_UP_TIMEOUT_S, app=app.name)

    def server(
        self, stack: Stack, uri: str, settings: Mapping[str, str], log: Path, cpus: Sequence[int] | None
    ) -> Server:
        # Here it is inherited; there nobody has set it.
        settings = {"MONGODB_DATABASE": database_name(), **settings}
        return RemoteServer(self._working(), stack, uri, settings, self.listen, self.host, log)

    def watch(self, server: Server) -> Watch:
        return RemoteWatch(self._link)

    def describe(self, apps: Iterable[App], mongod_version: str) -> Environment:
        names = [app.name for app in apps]
        described = self._working().ask(
            "describe", 3 * ANSWER_TIMEOUT_S, app_names=names, mongod_version=mongod_version
        )
        # wrk runs here.
        described["versions"]["wrk"] = wrk_version()
        return Environment.model_validate(described)

    def round_trips(self, database: tuple[str, int]) -> RoundTrips:
        """Return the round trips between the three, in milliseconds. Raises BadSetting for a way that is closed."""
        link = self._working()
        port = link.ask("bell", host=self.listen)
        try:
            to_server = round_trip(self.host, port)
        except BadSetting as problem:
            what_to_do = "set HOST to an address of that machine that can be, and open its firewall for this one"
            raise BadSetting(f"{problem}: {what_to_do}") from None
        finally:
            link.ask("no_bell")
        between = link.ask("round_trip", 4 * ANSWER_TIMEOUT_S, host=database[0], port=database[1])
        return RoundTrips(
            client_server=to_server,
            client_database=round_trip(*database),
            server_database=RoundTrip.model_validate(between),
        )

    def machines(self, database: Database) -> Machines:
        """Return who does what. Raises as ``round_trips`` does."""
        return Machines(
            client_name=socket.gethostname(),
            client=describe([], ""),
            server_name=self.name,
            listens_at=self.listen,
            database=database.host(),
            round_trip_ms=self.round_trips(database.address()),
        )

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
            link = Link(self.address, aloud=False)
            try:
                link.ask("hello", CONNECT_TIMEOUT_S + ANSWER_TIMEOUT_S)
            except (ConnectionLost, BadSetting) as problem:
                link.abandon()
                if time.monotonic() > deadline:
                    raise Unreachable(f"{self.address.host} cannot be reached any more: {problem}") from None
                time.sleep(_TRY_AGAIN_AFTER_S)
            else:
                self._link = link
                return link


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
    brought = brought_by_user()
    if brought is None:
        raise BadSetting("SERVER needs MONGODB_URI: the address of a MongoDB that this machine and that one can reach")
    for host in filter(is_loopback, brought.names):
        raise BadSetting(f"MONGODB_URI names {host}, which is another machine for the server than for this one")
