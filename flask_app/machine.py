"""What this process may use of the machine: the least of what the machine has and what its cgroups allow."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import ceil
from pathlib import Path
from threading import Condition

from pymongo.errors import WaitQueueTimeoutError


class Memory:
    """So many bytes may be held at once. What does not fit waits: first come, first served."""

    def __init__(self, limit: int) -> None:
        self.limit = self._free = limit
        self._queue: deque[object] = deque()
        self._changed = Condition()

    def take(self, need: Callable[[], int], timeout_s: float) -> int:
        """Return what is needed, which may change meanwhile, once it is free. Raises WaitQueueTimeoutError."""
        place = object()
        with self._changed:
            self._queue.append(place)
            fits = self._changed.wait_for(lambda: self._queue[0] is place and need() <= self._free, timeout_s)
            self._queue.remove(place)
            size = need()
            self._free -= size if fits else 0
            self._changed.notify_all()
        if not fits:
            raise WaitQueueTimeoutError(f"no memory for {size} bytes within {timeout_s:.1f} s")
        return size

    def give_back(self, size: int) -> None:
        with self._changed:
            self._free += size
            self._changed.notify_all()


def usable_cpus(root: Path = Path("/")) -> int:
    """Return how many CPUs this process may use: its affinity, and the CPU quotas of its cgroups rounded up."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [*_limits(root, "cpu", "cpu.max"), *_limits(root, "cpu", "cpu.cfs_quota_us", "cpu.cfs_period_us")]
    return max(1, min([cpus, *(ceil(quota / period) for quota, period in quotas if quota > 0)]))


def usable_memory(root: Path = Path("/")) -> int:
    """Return how many bytes this process and its siblings may use: the machine's, or the least of its cgroups."""
    limits = [*_limits(root, "memory", "memory.max"), *_limits(root, "memory", "memory.limit_in_bytes")]
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *(limit for (limit,) in limits)])


def _limits(root: Path, controller: str, *files: str) -> Iterator[list[int]]:
    """Yield the numbers in ``files`` of each of this process's cgroups and of those above them."""
    with suppress(OSError):  # not Linux
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            # Version 2 has no controllers here, and is mounted without a name.
            if not controllers or controller in controllers.split(","):
                own = Path(path.lstrip("/"))
                for group in (own, *own.parents):
                    folder = root / "sys/fs/cgroup" / (controllers and controller) / group
                    with suppress(OSError, ValueError):  # no such file, or "max": no limit
                        yield [int(word) for file in files for word in (folder / file).read_text().split()]
