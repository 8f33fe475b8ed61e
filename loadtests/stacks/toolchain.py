"""Prepare an app: its system tools and its own set-up, once, and again only when its inputs change."""

import fcntl
import hashlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bson

from loadtests.settings import ROOT
from loadtests.stacks.catalogue import App
from shared import nodejs
from shared.address import without_secrets
from shared.documents import big
from shared.system_packages import Unavailable, require

_STAMPS = ROOT / ".prepared"
_NODE = "node"
# Make's own variables would make a `make` inside a set-up think that it is a part of ours.
_NOT_PASSED_ON = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH")


def prepare(app: App) -> None:
    """Make ``app`` ready to run. Costs milliseconds when it is.

    Raises Unavailable, with one line that says why, where a tool is missing or a command of the set-up fails.
    """
    if _NODE in app.tools:
        nodejs.ensure()
    _run_once(app, "setup", app.setup, app.inputs)


def prepare_tests(app: App) -> None:
    """Make ``app`` ready to run its own tests. Raises Unavailable."""
    prepare(app)
    _run_once(app, "test_setup", app.test_setup, (*app.inputs, "tests/requirements.lock"))


def write_big_fixture(path: Path) -> None:
    """Write the big document to ``path`` as BSON, for the encoder benches of the apps."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bson.encode(big()))


def environment(app: App) -> dict[str, str]:
    """Return this process's environment with the programs of ``app`` first on PATH."""
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    folders = [str(app.folder / app.path), os.environ["PATH"]]
    if _NODE in app.tools and (own := nodejs.programs()):
        folders.insert(1, str(own))
    return {**inherited, "PATH": os.pathsep.join(folders)}


def _run_once(app: App, step: str, commands: tuple[str, ...], inputs: tuple[str, ...]) -> None:
    _STAMPS.mkdir(exist_ok=True)
    stamp = _STAMPS / f"{app.name}.{step}"
    with _exclusive(app):
        wanted = _fingerprint(app, commands, inputs)
        # Somebody may have removed what the stamp stands for.
        done = stamp.exists() and stamp.read_text() == wanted and (app.folder / app.path).is_dir()
        if done:
            return
        if not app.folder.is_dir():
            raise Unavailable(f"{app.name}: no such folder")
        require(tool for tool in app.tools if tool != _NODE)
        if step == "setup":
            # It takes away what the tests need on top of it.
            (_STAMPS / f"{app.name}.test_setup").unlink(missing_ok=True)
        for command in commands:
            _run(app, command)
        stamp.write_text(wanted)


def _run(app: App, command: str) -> None:
    print(f"{app.name}: {command}", file=sys.stderr, flush=True)
    log = _STAMPS / f"{app.name}.log"
    with log.open("wb") as output:
        done = subprocess.run(
            _words(command),
            cwd=app.folder,
            env=environment(app),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise Unavailable(f"{app.name}: `{command}` failed: {without_secrets(' '.join(last))} (whole log: {log})")


def _words(command: str) -> list[str]:
    words = shlex.split(command)
    # The Python that the project was told to use (make PYTHON=...), which need not be the first on PATH.
    return [getattr(sys, "_base_executable", sys.executable), *words[1:]] if words[0] == "python3" else words


def _fingerprint(app: App, commands: tuple[str, ...], inputs: tuple[str, ...]) -> str:
    digest = hashlib.sha256("\n".join(commands).encode())
    for pattern in inputs:
        for path in sorted(app.folder.glob(pattern)):
            digest.update(str(path.relative_to(app.folder)).encode() + path.read_bytes())
    return digest.hexdigest()


@contextmanager
def _exclusive(app: App) -> Iterator[None]:
    path: Path = _STAMPS / f"{app.name}.lock"
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
