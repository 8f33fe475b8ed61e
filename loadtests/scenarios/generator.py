"""When is the load generator the limit, and not the server? Imports no locust, which would patch whoever imports it."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

NEAR_LIMIT_CORES = 0.85
"""From so much of a core on, a process of locust is near what it can send: it runs on one at a time."""

_SCHEDSTAT = Path("/proc/self/schedstat")


@dataclass
class LoadGenerator:
    """How busy one process of locust was, second by second, and how much it waited for a CPU that others had."""

    cores: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)

    @property
    def limit(self) -> str | None:
        """Return why this process, or the machine it is on, limits the run; None where it does not."""
        # One busy second, such as that in which all users are made, says nothing.
        many = max(2, len(self.cores) / 4)
        wanted = [used + waited for used, waited in zip(self.cores, self.waiting, strict=True)]
        if sum(each >= NEAR_LIMIT_CORES for each in self.cores) >= many:
            return f"one of its processes used {max(self.cores):.2f} of the one core that it can use"
        if sum(each >= NEAR_LIMIT_CORES for each in wanted) >= many:
            return f"it was ready and had no CPU for up to {max(self.waiting):.0%} of a second: others use its machine"
        return None

    def as_result(self) -> dict[str, Any]:
        cores, waiting = self.cores or [0.0], self.waiting or [0.0]
        return {
            "cores_mean": round(mean(cores), 3),
            "cores_most": round(max(cores), 3),
            "waiting_mean": round(mean(waiting), 3),
            "waiting_most": round(max(waiting), 3),
            "limit": self.limit,
        }


class OwnCpu:
    """What this process has used of a CPU, and how long it was ready to run and had none, since the last look."""

    def __init__(self) -> None:
        self._before = self._now()

    def look(self) -> tuple[float, float]:
        """Return the cores used and the share of the time spent waiting for one."""
        before, self._before = self._before, self._now()
        wall_s, used_s, waited_s = (now - then for now, then in zip(self._before, before, strict=True))
        return used_s / wall_s, waited_s / wall_s

    def _now(self) -> tuple[float, float, float]:
        try:
            # Of the first thread, which is the one that locust's users run in.
            waited_ns = int(_SCHEDSTAT.read_text().split()[1])
        except (OSError, IndexError, ValueError):
            waited_ns = 0
        return time.perf_counter(), time.process_time(), waited_ns / 1e9
