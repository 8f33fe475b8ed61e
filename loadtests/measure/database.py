"""The mongod under a battle: what it has counted, what it costs, and how to make it slow."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pymongo.errors import OperationFailure, PyMongoError

from loadtests.results.battle import DatabaseMachine
from loadtests.settings import BadSetting
from shared.address import client, told


class DatabaseGone(Exception):
    """mongod does not answer. The message is one line."""


class Database:
    """Asks the mongod at ``uri``. Close it, or use it as a context manager. Raises BadAddress."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._client = client(uri)

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def answers(self) -> bool:
        try:
            self._client.admin.command("ping")
        except PyMongoError:
            return False
        return True

    def finds(self) -> int | None:
        """Return how many finds it has served since its start; None where we may not ask. Raises DatabaseGone."""
        status = self._status()
        return int(status["metrics"]["commands"]["find"]["total"]) if status else None

    def version(self) -> str:
        try:
            return str(self._client.server_info()["version"])
        except PyMongoError as error:
            raise DatabaseGone(f"mongod does not answer: {told(error)}") from None

    def address(self) -> tuple[str, int]:
        """Return host and port of the server that answers. Raises DatabaseGone."""
        if not self.answers() or self._client.address is None:
            raise DatabaseGone("mongod does not answer")
        return self._client.address

    def host(self) -> DatabaseMachine | None:
        """Return what it says of the machine it runs on; None where we may not ask."""
        try:
            found = self._client.admin.command("hostInfo")
        except PyMongoError:
            return None
        system, extra, os_name = found.get("system", {}), found.get("extra", {}), found.get("os", {})
        return DatabaseMachine(
            name=system.get("hostname"),
            cpu_model=extra.get("cpuString") or None,
            cpus_online=system.get("numCores"),
            memory_bytes=system["memSizeMB"] * 1024 * 1024 if "memSizeMB" in system else None,
            system=f"{_pretty(os_name.get('name', ''))} {os_name.get('version', '')}".strip(),
        )

    def local_pid(self) -> int | None:
        """Return its process id if it runs on this machine, where its costs can be read."""
        status = self._status()
        if not status:
            return None
        pid = int(status["pid"])
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            return None
        return pid if name == "mongod" else None

    @contextmanager
    def failing_finds(self, mode: Any = "alwaysOn", **data: Any) -> Iterator[None]:
        """Let mongod's failpoint change each find while in the block, as ``mode`` and ``data`` say.

        Raises BadSetting, with one line, where the server takes no failpoints, and DatabaseGone.
        """
        self._fail_command({"mode": mode, "data": {"failCommands": ["find"], **data}})
        try:
            yield
        finally:
            if self.answers():
                self._fail_command({"mode": "off"})

    def delayed_finds(self, latency_ms: int) -> AbstractContextManager[None]:
        """Delay each find by ``latency_ms`` inside mongod while in the block (nothing for 0). Raises the same."""
        return self.failing_finds(blockConnection=True, blockTimeMS=latency_ms) if latency_ms else nullcontext()

    def forget_delays(self) -> None:
        """Undo what a battle that was killed has left switched on."""
        try:
            self._client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
        except PyMongoError:
            return  # no failpoints here, so none is on

    def _fail_command(self, settings: dict[str, Any]) -> None:
        try:
            self._client.admin.command({"configureFailPoint": "failCommand", **settings})
        except OperationFailure as refusal:
            raise BadSetting(
                "DB_LATENCY_MS needs a mongod that takes failpoints (--setParameter enableTestCommands=1), and this "
                f"one refuses ({told(refusal)}): leave MONGODB_URI out to use the project's own, "
                "or set DB_LATENCY_MS=0"
            ) from None
        except PyMongoError as error:
            raise DatabaseGone(f"mongod does not answer: {told(error)}") from None

    def _status(self) -> dict[str, Any] | None:
        try:
            return self._client.admin.command("serverStatus")
        except OperationFailure:
            return None
        except PyMongoError as error:
            raise DatabaseGone(f"mongod does not answer: {told(error)}") from None


def _pretty(name: str) -> str:
    # On Debian mongod repeats a line of /etc/os-release.
    return name.removeprefix("PRETTY_NAME=").strip('"')
