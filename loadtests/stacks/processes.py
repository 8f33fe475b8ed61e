"""Processes of our own: started so that they do not outlive us, pinned, and found again by their session."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from loadtests.settings import BadSetting


def die_with_parent(signal_name: str) -> list[str]:
    """Return the words before a command that make the kernel send it this signal when its parent is killed.

    None where setpriv is missing, or of a kind that cannot: everything else works without.
    """
    return ["setpriv", "--pdeathsig", signal_name, "--"] if _can_die_with_parent() else []


@cache
def _can_die_with_parent() -> bool:
    try:
        return not subprocess.run(["setpriv", "--pdeathsig", "TERM", "--", "true"], capture_output=True).returncode
    except OSError:
        return False


def pinned_to(cpus: Sequence[int] | None) -> list[str]:
    """Return the words before a command that keep it on these CPUs; none for None."""
    if cpus is None:
        return []
    if shutil.which("taskset") is None:
        raise BadSetting("pinning to CPUs needs taskset (Debian package util-linux)")
    return ["taskset", "-c", ",".join(map(str, cpus))]


def session_members(session: int) -> list[int]:
    """Return the process ids in a session, zombies left out, in rising order."""
    return [pid for pid in all_pids() if (found := stat(pid)) and found.session == session and found.state != "Z"]


def all_pids() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


class Stat:
    """What /proc/PID/stat says. CPU times in seconds; ``started_ticks`` counts from the boot."""

    __slots__ = ("session", "started_ticks", "state", "system_s", "threads", "user_s")

    def __init__(self, text: str) -> None:
        # The name, in parentheses, may hold spaces and parentheses itself.
        fields = text[text.rindex(")") + 2 :].split()
        self.state = fields[0]
        self.session = int(fields[3])
        self.user_s = int(fields[11]) / _TICKS_PER_S
        self.system_s = int(fields[12]) / _TICKS_PER_S
        self.threads = int(fields[17])
        self.started_ticks = int(fields[19])


def stat(pid: int) -> Stat | None:
    """Return what the kernel says of a process, None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return Stat(file.read())
    except (FileNotFoundError, ProcessLookupError):
        return None


def cgroup_limits(name: str) -> list[str]:
    """Return what the files called ``name`` hold, such as ``memory.max``, for this process's cgroups of version 1 and
    2, each one's parents too."""
    groups = Path("/proc/self/cgroup")
    found = []
    for line in groups.read_text().splitlines() if groups.exists() else []:
        _, controllers, path = line.split(":", 2)
        mounted = Path("/sys/fs/cgroup", controllers)
        # In a container the path is one of the host, and its own group is what is mounted.
        group = mounted / path.lstrip("/")
        found += [each / name for each in (group, *group.parents) if each.is_relative_to(mounted)]
    return [path.read_text().strip() for path in found if path.is_file()]


_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
