"""This machine: server, database and load generator share it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from loadtests.machines.description import describe
from loadtests.machines.placement import usable_cpus
from loadtests.measure.watch import Watch
from loadtests.results.battle import Environment
from loadtests.stacks import toolchain
from loadtests.stacks.catalogue import App, Stack
from loadtests.stacks.processes import session_members
from loadtests.stacks.server import LOOPBACK, Server
from shared.mongod import free_port


class Machine:
    """What the stacks run on: here this machine, and the base of others."""

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

    def watch(self, server: Server) -> Watch:
        """Return what tells the costs of a started server of this machine."""
        session = server.session
        return Watch(lambda: session_members(session))

    def describe(self, apps: Iterable[App], mongod_version: str) -> Environment:
        return describe(apps, mongod_version)

    def close(self) -> None: ...
