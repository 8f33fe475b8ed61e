"""Whether this machine has room for a load: asked before it, for what runs out in the middle looks like the server's
fault."""

import os
import re
import resource
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil

from loadtests.settings import BadSetting
from loadtests.stacks.catalogue import Stack
from loadtests.stacks.processes import cgroup_limits
from loadtests.stacks.server import raise_open_file_limit

# A bench needs some files, processes and threads besides its connections: libraries, logs, pipes, workers.
_OTHER_FILES = 200
_OTHER_THREADS = 150
_POOLED_EACH = 100
_MIB = 1024 * 1024
# `make wrk-gunicorn-gevent` with its mongod, on two cores: 213 MiB (PSS) at 200 connections, 235 at 4,000, and what the
# kernel keeps for each of them.
_LEAST_MEMORY = 256 * _MIB
_MEMORY_OF_A_CONNECTION = 20 * 1024


def require_room(connections: int, stacks: Iterable[Stack], name: str = "CONNECTIONS") -> None:
    """Raise BadSetting, with one line, where this machine lacks what so many connections to one of ``stacks`` take.

    None of them where the servers are on another machine. ``name`` is the variable that asks for them.
    """
    raise_open_file_limit()
    stacks = list(stacks)
    # mongod has a thread for each connection to it: those are the pools of some worker processes.
    of_mongod = min(connections, _POOLED_EACH * (os.cpu_count() or 1)) if stacks else 0
    threads = of_mongod + connections * any(stack.thread_per_connection for stack in stacks)
    memory = _LEAST_MEMORY + connections * _MEMORY_OF_A_CONNECTION
    for what, needed, limit, raised_by in (
        ("open files", connections + _OTHER_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0], "ulimit -Hn"),
        # The ports of a load wait for a moment after it, while the next one begins.
        ("client ports", 2 * connections, local_ports(), "sysctl net.ipv4.ip_local_port_range"),
        ("processes and threads", threads + _OTHER_THREADS, _free_threads(), "ulimit -u, or pids.max of the cgroup"),
        ("MiB of memory", memory // _MIB, _memory() // _MIB, "a machine or a cgroup with more"),
    ):
        if limit is not None and limit < needed:
            raise BadSetting(
                f"{name}={connections} needs {needed} {what}, and the limit is {limit}: raise it with {raised_by}, "
                "or ask for fewer connections"
            )


def local_ports() -> int | None:
    """Return how many ports the kernel has for clients; None where it does not say."""
    ends = _numbers("/proc/sys/net/ipv4/ip_local_port_range", r"(\d+)")
    return ends[1] - ends[0] + 1 if len(ends) == 2 else None


def killed_for_memory() -> int:
    """Return how many processes the kernel has killed for lack of memory since its start."""
    return sum(_numbers("/proc/vmstat", r"oom_kill (\d+)"))


def _free_threads() -> int | None:
    used = cgroup_limits("pids.current")
    free = [int(most) - int(now) for most, now in zip(cgroup_limits("pids.max"), used, strict=False) if most != "max"]
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    # It does not hold for root.
    if limit != resource.RLIM_INFINITY and os.geteuid() != 0:
        running = [each.info for each in psutil.process_iter(["uids", "num_threads"])]
        ours = [each["num_threads"] or 0 for each in running if each["uids"] and each["uids"].real == os.getuid()]
        free.append(limit - sum(ours))
    return min(free, default=None)


def _memory() -> int:
    # What a cgroup uses now is no measure: most of it may be files that can be forgotten.
    limits = cgroup_limits("memory.max") + cgroup_limits("memory.limit_in_bytes")
    available = [kib * 1024 for kib in _numbers("/proc/meminfo", r"MemAvailable:\s*(\d+)")]
    return min([*available, *(int(limit) for limit in limits if limit != "max")], default=sys.maxsize)


def _numbers(path: str, pattern: str) -> list[int]:
    try:
        text = Path(path).read_text()
    except OSError:
        return []
    return [int(number) for number in re.findall(pattern, text)]
