"""The machine, and the versions of everything that runs on it during a battle."""

import hashlib
import json
import os
import platform
import re
import resource
import subprocess
from collections.abc import Iterable
from pathlib import Path

from loadtests.machines.placement import usable_cpus
from loadtests.results.battle import Environment, Git
from loadtests.settings import ROOT
from loadtests.stacks.catalogue import App
from loadtests.stacks.room import local_ports
from loadtests.stacks.toolchain import environment

_LOCK_NAMES = ("requirements.lock", "package-lock.json", "pom.xml", "build.sbt", "mongod.lock", "nodejs.lock")

# A JVM says before its version which options it was given, and these may hold passwords.
_TOOLS = (
    ("node", ["node", "--version"], r"v\d[\w.-]*$"),
    ("java", ["java", "-version"], r'(openjdk|java) version "[\w.+-]+"( \d{4}-\d\d-\d\d)?'),
)


def describe(apps: Iterable[App], mongod_version: str) -> Environment:
    apps = list(apps)
    cpuinfo = _read("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    return Environment(
        cpu_model=model[1] if model else platform.processor() or platform.machine(),
        cpus_usable=len(usable_cpus()),
        cpus_online=os.cpu_count() or 1,
        governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or None,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=platform.release(),
        machine=platform.machine(),
        virtual=bool(re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE)),
        limits={
            "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
            "somaxconn": _number("/proc/sys/net/core/somaxconn"),
            "local_ports": local_ports(),
        },
        git=git_state(),
        locks=_locks(apps),
        versions={
            "mongod": mongod_version,
            "wrk": wrk_version(),
            "python": platform.python_version(),
            **{name: version for app in apps for name, version in _versions(app)},
        },
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _number(path: str) -> int | None:
    text = _read(path)
    return int(text) if text.isdigit() else None


def _locks(apps: list[App]) -> dict[str, str]:
    folders = [ROOT, ROOT / "shared", *(app.folder for app in apps)]
    files = [folder / name for folder in folders for name in _LOCK_NAMES]
    return {
        str(path.relative_to(ROOT)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()
    }


def _versions(app: App) -> Iterable[tuple[str, str]]:
    for folder in app.folder.glob(".venv/lib/python*/site-packages/*.dist-info"):
        name, _, version = folder.name.removesuffix(".dist-info").partition("-")
        yield f"{app.name}/{name.lower()}", version
    for path in sorted(app.folder.glob("node_modules/*/package.json")):
        package = json.loads(path.read_text())
        yield f"{app.name}/{package['name']}", package["version"]
    for path in sorted(app.folder.glob("target/**/lib/*.jar")):
        name, _, version = path.stem.rpartition("-")
        yield f"{app.name}/{name}", version
    for tool, command, version in _TOOLS:
        if tool in app.tools:
            yield tool, _said(command, version, environment(app))


def git_state() -> Git | None:
    """Return the commit and whether there are uncommitted changes; None outside a repository."""
    commit = _said(["git", "-C", str(ROOT), "rev-parse", "HEAD"], "[0-9a-f]{40,64}$")
    if not commit:
        return None
    changes = _said(["git", "-C", str(ROOT), "status", "--porcelain"], ".+")
    return Git(commit=commit, uncommitted_changes=bool(changes))


def wrk_version() -> str:
    # Its usage text follows, and it ends with status 1.
    return _said(["wrk", "-v"], r"wrk \S+").removeprefix("wrk ")


def _said(command: list[str], wanted: str, variables: dict[str, str] | None = None) -> str:
    """Return what matches ``wanted`` at the beginning of a line of what a command says; of the rest nothing is kept."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=10, env=variables)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(f"^{wanted}", done.stdout or done.stderr, re.MULTILINE)
    return found[0] if found else ""
