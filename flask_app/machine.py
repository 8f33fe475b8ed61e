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
    """Return the number of CPUs, by affinity and by the CPU quotas, rounded up."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = _limits(root, "cpu", ("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    return max(1, min([cpus, *(ceil(quota / period) for quota, period in quotas if quota > 0)]))


def usable_memory(root: Path = Path("/")) -> int:
    """Return the memory in bytes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = _limits(root, "memory", ("memory.max",), ("memory.limit_in_bytes",))
    return min([memory, *(limit for (limit,) in limits)])


def _limits(root: Path, controller: str, v2: tuple[str, ...], v1: tuple[str, ...]) -> Iterator[list[int]]:
    """Yield the numbers in these files, of the cgroup of this process and of each above it."""
    own = root / "proc/self/cgroup"
    for line in own.read_text().splitlines() if own.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        folder = root / "sys/fs/cgroup" / (controller if controllers else "") / path.strip("/")
        # A container may not see the folder itself, but it sees those above.
        for level in (folder, *folder.parents):
            with suppress(OSError, ValueError):  # no such file, or "max": no limit
                yield [int(word) for name in (v1 if controllers else v2) for word in (level / name).read_text().split()]
