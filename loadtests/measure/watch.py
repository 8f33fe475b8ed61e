"""What a server costs while it is loaded, and what its machine does meanwhile."""

from collections.abc import Callable, Iterable
from typing import Any

from loadtests.machines.description import CpuTimes
from loadtests.measure.costs import Usage


class Watch:
    """Watches the processes that ``pids`` returns and their machine, from ``begin`` over ``sample`` to ``end``."""

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._usage = Usage(pids)
        self._before = self._after = CpuTimes()

    def begin(self) -> None:
        self._before = CpuTimes()
        self._usage.begin()

    def sample(self) -> None:
        self._usage.sample()

    def end(self) -> None:
        self._usage.end()
        self._after = CpuTimes()

    def cost(self, wall_s: float, requests: int) -> dict[str, Any]:
        """Return the ``cost`` of the server (docs/results.md)."""
        return self._usage.as_result(wall_s, requests)

    def machine(self, ours_s: float) -> dict[str, Any]:
        """Return the ``machine`` part of a cell; ``ours_s`` is CPU time that the battle used on that machine."""
        return self._after.since(self._before, ours_s)
