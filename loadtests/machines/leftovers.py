"""One battle at a time, and nothing of one that was killed lives on.

Every server and every wrk carries the battle's mark in its environment. A process is ended only when it carries the
mark of a battle that is over, or is in a session whose leader this bench is known to have started.
"""

import fcntl
import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from loadtests.results.file import write_whole, writing
from loadtests.settings import BadSetting
from loadtests.stacks.processes import all_pids, stat

MARK = "STACK_BATTLE_RUN"
_GONE_WITHIN_S = 5


class Run:
    """What a battle has started, on disk so that the next one can find it."""

    def __init__(self, folder: Path) -> None:
        self.mark = uuid.uuid4().hex
        self._path = folder / ".running.json"
        self._sessions: list[dict[str, int]] = []
        self._write()

    @property
    def environment(self) -> dict[str, str]:
        """Return what each process that is started must have in its environment."""
        return {MARK: self.mark}

    def started(self, leader: int) -> None:
        """Note a process that was started as the leader of its own session."""
        found = stat(leader)
        if found is not None:
            self._sessions.append({"pid": leader, "started_ticks": found.started_ticks})
            self._write()

    def over(self) -> None:
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        state = {"mark": self.mark, "boot": _boot(), "sessions": self._sessions}
        write_whole(self._path, json.dumps(state))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises BadSetting when another battle holds it, CannotWrite."""
    with writing(folder):
        folder.mkdir(exist_ok=True)
        lock = (folder / ".lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadSetting(
                "another battle runs here: two at once would measure each other; wait for it or stop it"
            ) from None
        yield


def end_leftovers(folder: Path) -> list[str]:
    """End what the last battle left running, and return a line for each process ended."""
    path = folder / ".running.json"
    try:
        state = json.loads(path.read_text())
        mark, sessions, boot = str(state["mark"]), state["sessions"], state["boot"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    ended = []
    if boot == _boot():
        leaders = {entry["pid"]: entry["started_ticks"] for entry in sessions}
        ours = [pid for pid in all_pids() if pid != os.getpid() and _is_ours(pid, mark, leaders)]
        ended = [f"{_read(pid, 'comm').decode().strip()} (process {pid})" for pid in ours]
        for pid in ours:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _wait_until_gone(ours)
    path.unlink(missing_ok=True)
    return ended


def _is_ours(pid: int, mark: str, leaders: dict[int, int]) -> bool:
    found = stat(pid)
    if found is None or found.state == "Z":
        return False
    if f"{MARK}={mark}".encode() in _read(pid, "environ").split(b"\0"):
        return True
    # A server may have overwritten its environment with a title. The number of its session's leader is proof only
    # while that leader lives and is the one that was started.
    leader = stat(found.session) if found.session in leaders else None
    return leader is not None and leader.started_ticks == leaders[found.session]


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""


def _wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + _GONE_WITHIN_S
    while any((found := stat(pid)) and found.state != "Z" for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
