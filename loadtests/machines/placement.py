"""Which CPUs the server, the database and the load generator run on."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil

from loadtests.results.battle import Placement
from loadtests.settings import BadSetting
from loadtests.stacks.processes import cgroup_limits

# With fewer, one of the three would have none to itself.
_LEAST_CPUS_TO_SHARE_OUT = 4


def usable_cpus() -> list[int]:
    """Return the CPUs this process may use; as many of them as the quotas of its cgroups pay for."""
    cpus = sorted(os.sched_getaffinity(0))
    quotas = [(*line.split(),) for line in cgroup_limits("cpu.max")]
    quotas += zip(cgroup_limits("cpu.cfs_quota_us"), cgroup_limits("cpu.cfs_period_us"), strict=True)
    paid = [int(quota) / int(period) for quota, period in quotas if quota not in ("max", "-1")]
    return cpus[: max(1, ceil(min(paid, default=len(cpus))))]


def chosen_placement(usable: Sequence[int]) -> Placement:
    """Return where CPUS_SERVER, CPUS_DB and CPUS_LOAD say; else disjoint sets on 4 or more CPUs, and none below."""
    given = [_cpus(name, usable) for name in ("CPUS_SERVER", "CPUS_DB", "CPUS_LOAD")]
    if any(given) or len(usable) < _LEAST_CPUS_TO_SHARE_OUT:
        return Placement(server=given[0], database=given[1], load=given[2])
    quarter = len(usable) // 4
    # The server is what is measured: it gets half, and what does not divide.
    return Placement(
        server=list(usable[: -2 * quarter]),
        database=list(usable[-2 * quarter : -quarter]),
        load=list(usable[-quarter:]),
    )


@contextmanager
def pinned_process(pid: int | None, cpus: Sequence[int] | None) -> Iterator[None]:
    """Keep the threads of a running process on ``cpus`` inside the block, and put them back after it."""
    if pid is None or cpus is None:
        yield
        return
    before = os.sched_getaffinity(pid)
    _set_affinity(pid, set(cpus))
    try:
        yield
    finally:
        _set_affinity(pid, before)


def _set_affinity(pid: int, cpus: set[int]) -> None:
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), cpus)
    except (FileNotFoundError, ProcessLookupError):
        return  # it has ended


def _cpus(name: str, usable: Sequence[int]) -> list[int] | None:
    text = os.environ.get(name)
    if not text:
        return None
    cpus: set[int] = set()
    for part in text.replace(",", " ").split():
        match = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part)
        if match is None:
            raise BadSetting(f"{name} must be CPU numbers such as 0-3 or 0,2, not '{text}'")
        cpus.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    if not cpus or not cpus <= set(usable):
        raise BadSetting(
            f"{name} must name CPUs that can be used here, which are {' '.join(map(str, usable))}, not '{text}'"
        )
    return sorted(cpus)
