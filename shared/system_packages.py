"""Tools that come from the system: used from PATH, else installed with apt-get where that needs no password.

Standard library only: it also runs before the project's own environment exists.
``python3 -m shared.system_packages wrk`` makes sure of one from the shell.
"""

import ctypes
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


class Unavailable(Exception):
    """A tool is missing and cannot be installed from here. The message is one line that says what to do."""


@dataclass(frozen=True)
class SystemTool:
    """What a tool is called, how to see that it is there, and the Debian packages that carry it."""

    name: str
    is_present: Callable[[], bool]
    packages: tuple[str, ...]


def _command(name: str, *packages: str) -> SystemTool:
    return SystemTool(name, lambda: shutil.which(name) is not None, packages)


def _library(soname: str, package: str) -> SystemTool:
    def is_present() -> bool:
        try:
            ctypes.CDLL(soname)
        except OSError:
            return False
        return True

    return SystemTool(soname, is_present, (package,))


def _has_java() -> bool:
    # Play's build needs 17; a JRE is enough, for Scala compiles without javac.
    if shutil.which("java") is None:
        return False
    said = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr
    found = re.search(r' version "(\d+)', said)
    return found is not None and int(found[1]) >= 17


def _has_python_headers() -> bool:
    return Path(sysconfig.get_paths()["include"], "Python.h").exists()


# Of this very version: beside it there may be the distribution's own, whose packages have no number in their names.
_PYTHON = f"python3.{sys.version_info.minor}"

TOOLS = {
    tool.name: tool
    for tool in (
        _command("wrk", "wrk"),
        _command("cc", "gcc", "libc6-dev"),
        SystemTool("python-headers", _has_python_headers, (f"{_PYTHON}-dev",)),
        # Debian ships Python without it, and then `python3 -m venv` fails half-way.
        SystemTool("python-venv", lambda: find_spec("ensurepip") is not None, (f"{_PYTHON}-venv",)),
        _library("libcurl.so.4", "libcurl4"),
        _library("libssl.so.3", "libssl3"),
        SystemTool("java", _has_java, ("openjdk-17-jdk-headless",)),
        _command("mvn", "maven"),
        # For the tests: the web page of locust in a browser, and three machines on one.
        _command("chromium", "chromium"),
        _command("ip", "iproute2"),
        # Debian keeps it where only root looks.
        SystemTool("sshd", lambda: shutil.which("sshd", path="/usr/sbin:/usr/bin") is not None, ("openssh-server",)),
    )
}


def require(names: Iterable[str]) -> None:
    """Make sure that each named tool is there, installing what is missing.

    Raises Unavailable when one is missing and apt-get is not there, needs a password or fails.
    """
    missing = [TOOLS[name] for name in names if not TOOLS[name].is_present()]
    if not missing:
        return
    packages = [package for tool in missing for package in tool.packages]
    command = f"apt-get install -y {' '.join(packages)}"
    what = ", ".join(tool.name for tool in missing)
    prefix = _privilege()
    if shutil.which("apt-get") is None or prefix is None:
        raise Unavailable(f"{what} missing: install it, on Debian or Ubuntu with `sudo {command}`")
    print(f"{what} missing: running {command}", file=sys.stderr, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # First what an interrupted one has left half-way.
    for step in (["dpkg", "--configure", "-a"], ["apt-get", "update"], command.split()):
        done = subprocess.run([*prefix, *step], env=environment, capture_output=True, text=True)
        if done.returncode:
            tail = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise Unavailable(f"{what} missing, and `{' '.join(step)}` failed: {' '.join(tail)}")
    absent = [tool.name for tool in missing if not tool.is_present()]
    if absent:
        raise Unavailable(f"{', '.join(absent)} still missing after `{command}`")


def _privilege() -> list[str] | None:
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        return ["sudo", "-n"]
    return None


if __name__ == "__main__":
    try:
        require(sys.argv[1:])
    except KeyError as unknown:
        sys.exit(f"no such tool: {unknown}; known: {' '.join(TOOLS)}")
    except Unavailable as missing:
        print(missing, file=sys.stderr)
        sys.exit(2)
