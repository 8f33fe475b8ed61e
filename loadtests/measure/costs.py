"""What a group of processes uses: CPU, memory, threads, context switches. Read from /proc.

Counters (CPU, switches) are read at both ends of a measurement and, so that a process which dies between is not
lost, at each sample; memory is sampled. Reading costs the bench, so a sample is one look at what is cheap.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from loadtests.results.counts import Usage
from loadtests.stacks.processes import stat

_KIB = 1024


@dataclass
class _Process:
    """Counters of one process: at the first look and at the last one."""

    user_s: tuple[float, float]
    system_s: tuple[float, float]


@dataclass
class Meter:
    """Watches the processes that ``pids`` returns, from ``begin`` over any number of ``sample`` to ``end``."""

    pids: Callable[[], Iterable[int]]
    _processes: dict[tuple[int, int], _Process] = field(default_factory=dict)
    _switches: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)
    _pss_bytes: list[int] = field(default_factory=list)
    _most_processes: int = 0
    _most_threads: int = 0

    def begin(self) -> None:
        self._look(first=True)
        self._look_at_switches(first=True)

    def sample(self) -> None:
        pids = self._look()
        sizes = [size for pid in pids if (size := pss_bytes(pid)) is not None]
        if sizes:
            self._pss_bytes.append(sum(sizes))

    def end(self) -> None:
        self._look()
        self._look_at_switches()

    def usage(self) -> Usage:
        """Return what was used from ``begin`` to ``end``."""
        spent = [
            (each.user_s[1] - each.user_s[0], each.system_s[1] - each.system_s[0]) for each in self._processes.values()
        ]
        return Usage(
            user_s=sum(user_s for user_s, _ in spent),
            system_s=sum(system_s for _, system_s in spent),
            pss_bytes=self._pss_bytes,
            processes=self._most_processes,
            threads=self._most_threads,
            voluntary_switches=sum(last - first for first, last, _, _ in self._switches.values()),
            involuntary_switches=sum(last - first for _, _, first, last in self._switches.values()),
            cpu_s_by_process=sorted((sum(each) for each in spent), reverse=True),
        )

    def _look(self, first: bool = False) -> list[int]:
        pids, threads = [], 0
        for pid in self.pids():
            now = stat(pid)
            if now is None:
                continue
            pids.append(pid)
            threads += now.threads
            # A process number is used again; number and start together are not.
            known = self._processes.get((pid, now.started_ticks))
            begun_user_s = known.user_s[0] if known else now.user_s if first else 0.0
            begun_system_s = known.system_s[0] if known else now.system_s if first else 0.0
            self._processes[pid, now.started_ticks] = _Process(
                (begun_user_s, now.user_s), (begun_system_s, now.system_s)
            )
        self._most_processes = max(self._most_processes, len(pids))
        self._most_threads = max(self._most_threads, threads)
        return pids

    def _look_at_switches(self, first: bool = False) -> None:
        for pid in self.pids():
            for thread, voluntary, involuntary in switches(pid):
                known = self._switches.get(thread)
                begun = (known[0], known[2]) if known else (voluntary, involuntary) if first else (0, 0)
                self._switches[thread] = (begun[0], voluntary, begun[1], involuntary)


def pss_bytes(pid: int) -> int | None:
    """Return the proportional set size: memory, with each shared page divided among those that share it."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * _KIB
    except OSError:
        return None
    return None


def switches(pid: int) -> Iterable[tuple[int, int, int]]:
    """Yield thread id, voluntary and involuntary context switches of each thread of a process."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/status", "rb", buffering=0) as file:
                lines = file.read().rsplit(b"\n", 3)
        except OSError:
            continue
        yield int(thread), int(lines[-3].split()[-1]), int(lines[-2].split()[-1])
