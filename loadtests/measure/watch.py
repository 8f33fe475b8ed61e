"""What a server costs while it is loaded, and what its machine does meanwhile."""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from loadtests.measure.costs import Meter
from loadtests.results.counts import MachineTimes, Usage


class Watch:
    """Watches the processes that ``pids`` returns and their machine, from ``begin`` over ``sample`` to ``end``."""

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._meter = Meter(pids)
        self._before = self._after = _CpuTimes()

    def begin(self) -> None:
        self._before = _CpuTimes()
        self._meter.begin()

    def sample(self) -> None:
        self._meter.sample()

    def end(self) -> None:
        self._meter.end()
        self._after = _CpuTimes()

    def usage(self) -> Usage:
        """Return what the processes used."""
        return self._meter.usage()

    def machine(self) -> MachineTimes:
        """Return where the machine's CPU time went."""
        before, after = self._before, self._after
        return MachineTimes(
            total_s=after.total - before.total,
            idle_s=max(0.0, after.idle - before.idle),
            steal_s=max(0.0, after.steal - before.steal),
            mhz=_mean_mhz(),
        )


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
