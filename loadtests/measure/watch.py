"""What a server costs while it is loaded, and what its machine does meanwhile."""

from collections.abc import Callable, Iterable

import psutil

from loadtests.measure.costs import Meter
from loadtests.results.counts import MachineTimes, Usage

_GUEST = 8


class Watch:
    """Watches the processes that ``pids`` returns and their machine, from ``begin`` over ``sample`` to ``end``."""

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._meter = Meter(pids)
        self._before = self._after = psutil.cpu_times()

    def begin(self) -> None:
        self._before = psutil.cpu_times()
        self._meter.begin()

    def sample(self) -> None:
        self._meter.sample()

    def end(self) -> None:
        self._meter.end()
        self._after = psutil.cpu_times()

    def usage(self) -> Usage:
        return self._meter.usage()

    def machine(self) -> MachineTimes:
        before, after = self._before, self._after
        clock = psutil.cpu_freq()
        return MachineTimes(
            # What a guest used is in the time of users already.
            total_s=sum(after[:_GUEST]) - sum(before[:_GUEST]),
            idle_s=max(0.0, after.idle + after.iowait - before.idle - before.iowait),
            steal_s=max(0.0, after.steal - before.steal),
            mhz=round(clock.current, 1) if clock else None,
        )
