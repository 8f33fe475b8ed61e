"""``make lint``, ``make format`` and ``make bench-encode``: the same chore in every app, and in the project itself."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from loadtests import toolchain
from loadtests.stacks import ROOT, App, apps
from shared.system_packages import Unavailable

_LINT = ("ruff check .", "ruff format --check .", "mypy")
_FORMAT = ("ruff check --fix-only .", "ruff format .")
_FAILED = 1


def lint() -> int:
    """Check the style and the types of everything; return the exit status."""
    return _everywhere(_LINT, lambda app: app.lint)


def format_code() -> int:
    """Lay out the code of everything; return the exit status."""
    return _everywhere(_FORMAT, lambda app: app.format)


def bench_encode() -> int:
    """Time each app's encoder on the big fixture, one after the other; return the exit status."""
    fixture = ROOT / ".prepared" / "big.bson"
    toolchain.write_big_fixture(fixture)
    status = 0
    for app in apps().values():
        status |= _in_app(app, [f"{app.bench_encode} {shlex.quote(str(fixture))}"], toolchain.prepare)
    return status


def _everywhere(own: Sequence[str], of_app: Callable[[App], Sequence[str]]) -> int:
    status = 0
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in own:
        status |= _run(command, ROOT, {**os.environ, "PATH": programs})
    for app in apps().values():
        status |= _in_app(app, of_app(app), toolchain.prepare_tests)
    return status


def _in_app(app: App, commands: Sequence[str], prepare: Callable[[App], None]) -> int:
    try:
        prepare(app)
    except Unavailable as reason:
        print(f"{app.name} skipped: {reason}", file=sys.stderr)
        # CI installs everything, so that there a missing tool is a failure.
        return _FAILED if os.environ.get("CI") else 0
    status = 0
    for command in commands:
        status |= _run(command, app.folder, toolchain.environment(app))
    return status


def _run(command: str, folder: Path, environment: dict[str, str]) -> int:
    place = "" if folder == ROOT else f"{folder.name}: "
    print(f"{place}{command}", file=sys.stderr, flush=True)
    return _FAILED if subprocess.run(shlex.split(command), cwd=folder, env=environment).returncode else 0
