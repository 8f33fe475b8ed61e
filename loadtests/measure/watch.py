"""What a server costs while it is loaded, and what its machine does meanwhile."""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from loadtests.measure.costs import Usage


class Watch:
    """Watches the processes that ``pids`` returns and their machine, from ``begin`` over ``sample`` to ``end``."""

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._usage = Usage(pids)
        self._before = self._after = _CpuTimes()

    def begin(self) -> None:
        self._before = _CpuTimes()
        self._usage.begin()

    def sample(self) -> None:
        self._usage.sample()

    def end(self) -> None:
        self._usage.end()
        self._after = _CpuTimes()

    def cost(self, wall_s: float, requests: int) -> dict[str, Any]:
        """Return the ``cost`` of the server (docs/results.md)."""
        return self._usage.as_result(wall_s, requests)

    def machine(self, ours_s: float) -> dict[str, Any]:
        """Return the ``machine`` part of a cell; ``ours_s`` is CPU time that the battle used on that machine."""
        before, after = self._before, self._after
        total = max(after.total - before.total, 1e-9)
        steal = after.steal - before.steal
        busy = total - (after.idle - before.idle) - steal
        return {
            "busy": _fraction(busy / total),
            "steal": _fraction(steal / total),
            "others": _fraction((busy - ours_s) / total),
            "mhz": _mean_mhz(),
        }


class _CpuTimes:
    """Where the machine's CPU time has gone, in seconds over all cores."""

    def __init__(self) -> None:
        first_line = Path("/proc/stat").read_text().split("\n", 1)[0]
        fields = [int(field) / os.sysconf("SC_CLK_TCK") for field in first_line.split()[1:]]
        self.idle = fields[3] + fields[4]
        self.steal = fields[7]
        self.total = sum(fields[:8])


def _mean_mhz() -> float | None:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    clocks = [float(mhz) for mhz in re.findall(r"^cpu MHz\s*: ([0-9.]+)$", cpuinfo, re.MULTILINE)]
    return round(sum(clocks) / len(clocks), 1) if clocks else None


def _fraction(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 4)
