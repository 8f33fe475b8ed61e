"""Programs that come inside a locked wheel, each in a folder of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

from shared.set_up import one_at_a_time

_STAMP = "installed.lock"


def installed(lock: Path, folder: Path) -> bool:
    """Return whether ``folder`` holds the wheel that ``lock`` names, and not the one of an older lock."""
    stamp = folder / _STAMP
    return stamp.exists() and stamp.read_bytes() == lock.read_bytes()


def ensure(lock: Path, folder: Path, what: str) -> bool:
    """Install the wheel that ``lock`` names into ``folder`` unless it is there; return whether it is there now.

    ``what`` is what to say before. Half a wheel is never left, and of several callers at once one installs it.
    """
    with one_at_a_time(folder.parent):
        if installed(lock, folder):
            return True
        print(what, file=sys.stderr, flush=True)
        unfinished = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        locked = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement", str(lock)]
        done = subprocess.run([*pip, *locked, "--target", str(unfinished)])
        if done.returncode:
            return False
        shutil.copy(lock, unfinished / _STAMP)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
        return True
