"""``python3 -m shared.set_up``: the project's own .venv, once, and again when its lock has changed.

What other set-ups need as well is here: one of several commands at a time, and a log instead of a flood.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from shared.environment import ROOT, choose
from shared.said import without_secrets
from shared.system_packages import Unavailable, require

LOGS = ROOT / ".prepared"
_READY = ROOT / ".venv" / ".ready"
_LOCK = ROOT / "requirements.lock"


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait for whoever is in such a block for ``folder``. The kernel forgets them when they are killed."""
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # NFS, for one, locks no folder: there nobody is waited for
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def run(command: Sequence[str], name: str, folder: Path = ROOT, environment: dict[str, str] | None = None) -> None:
    """Run ``command``, its output in ``name``.log. Raises Unavailable with the log's last line when it fails."""
    log = LOGS / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    if done.returncode:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise Unavailable(f"{name}: `{' '.join(command)}` failed: {without_secrets(' '.join(last))} (whole log: {log})")


def _own() -> None:
    with one_at_a_time(ROOT / "shared"):
        if _READY.exists() and _READY.stat().st_mtime >= _LOCK.stat().st_mtime:
            return
        require(["python-venv"])
        print("Setting up .venv (once)", file=sys.stderr, flush=True)
        if not _READY.exists():
            # Half of one, from a set-up that was interrupted, is not repaired by pip.
            shutil.rmtree(ROOT / ".venv", ignore_errors=True)
        run([sys.executable, "-m", "venv", ".venv"], "venv")
        install = ["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--requirement", _LOCK.name]
        run([".venv/bin/python", "-m", "pip", *install], "venv")
        _READY.touch()


if __name__ == "__main__":
    choose()
    try:
        _own()
    except Unavailable as reason:
        print(reason, file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")
