"""Prepare an app: its system tools and its own set-up, once, and again only when its inputs change."""

import hashlib
import os
import shlex
import sys
from pathlib import Path

import bson

from loadtests.stacks.catalogue import App
from shared import environment as chosen
from shared import nodejs
from shared.documents import big
from shared.set_up import LOGS as _STAMPS
from shared.set_up import one_at_a_time, run
from shared.system_packages import Unavailable, require

_NODE = "node"


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
    """Return the environment of the project with the programs of ``app`` first on PATH."""
    inherited = chosen.environment(os.environ)
    folders = [str(app.folder / app.path), inherited["PATH"]]
    if _NODE in app.tools and (own := nodejs.programs()):
        folders.insert(1, str(own))
    return {**inherited, "PATH": os.pathsep.join(folders)}


def _run_once(app: App, step: str, commands: tuple[str, ...], inputs: tuple[str, ...]) -> None:
    if not app.folder.is_dir():
        raise Unavailable(f"{app.name}: no such folder")
    _STAMPS.mkdir(exist_ok=True)
    stamp = _STAMPS / f"{app.name}.{step}"
    with one_at_a_time(app.folder):
        wanted = _fingerprint(app, commands, inputs)
        # Somebody may have removed what the stamp stands for.
        done = stamp.exists() and stamp.read_text() == wanted and (app.folder / app.path).is_dir()
        if done:
            return
        require(tool for tool in app.tools if tool != _NODE)
        # Half a set-up is none. And one takes away what the tests need on top of it.
        for name in (step, "test_setup"):
            (_STAMPS / f"{app.name}.{name}").unlink(missing_ok=True)
        for command in commands:
            print(f"{app.name}: {command}", file=sys.stderr, flush=True)
            run(_words(command), app.name, app.folder, environment(app))
        stamp.write_text(wanted)


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
