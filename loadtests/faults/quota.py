"""A cgroup of its own with a quota of the CPUs, as containers have it."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000
# Whoever was in it may be gone a moment later than its server.
_EMPTY_WITHIN_S = 5.0


@contextmanager
def cpu_quota(cpus: float) -> Iterator[list[str] | None]:
    """Give the words before a command that let it have so many CPUs; None where nobody may make a cgroup.

    The quota is that of the cgroup above the command's own, as systemd and Kubernetes nest them.
    """
    version_1 = _ROOT / "cpu"
    outer = (version_1 if version_1.is_dir() else _ROOT) / f"quota-{os.getpid()}-{time.monotonic_ns()}"
    inner = outer / "inner"
    quota_us = int(cpus * _PERIOD_US)
    try:
        inner.mkdir(parents=True)
        if version_1.is_dir():
            (outer / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (outer / "cpu.cfs_quota_us").write_text(str(quota_us))
        else:
            (outer / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
    except OSError:
        _remove((inner, outer))
        yield None
        return
    try:
        yield ["sh", "-c", f'echo $$ > {inner}/cgroup.procs && exec "$0" "$@"']
    finally:
        _remove((inner, outer))


def _remove(folders: Sequence[Path]) -> None:
    deadline = time.monotonic() + _EMPTY_WITHIN_S
    for folder in folders:
        while folder.is_dir() and time.monotonic() < deadline:
            with suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.05)
