"""What the cgroups of this process allow, in both versions; and documents that wait for one another."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import until
from pymongo.errors import WaitQueueTimeoutError

from machine import Memory, usable_cpus, usable_memory

CPUS = 4


@pytest.fixture(autouse=True)
def four_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(CPUS)), raising=False)


def write(root: Path, own: str, files: dict[str, str]) -> None:
    """Write the files of cgroups below ``root``; ``own`` says which are those of this process."""
    for name, text in {
        "proc/self/cgroup": own,
        **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [("max 100000\n", CPUS), ("50000 100000\n", 1), ("110000 100000\n", 2), ("900000 100000\n", CPUS), ("odd", CPUS)],
)
@pytest.mark.parametrize("place", ["cpu.max", "a/cpu.max", "a/b c/cpu.max"])
def test_a_cpu_quota_of_the_own_cgroup_or_one_above_is_kept(tmp_path: Path, place: str, quota: str, cpus: int) -> None:
    above = "300000 100000\n" if cpus < CPUS else "max 100000\n"
    write(tmp_path, "0::/a/b c\n", {"a/cpu.max": above, place: quota})
    assert usable_cpus(tmp_path) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("-1", CPUS), ("1000", 1), ("100000", 1), ("150000", 2)])
@pytest.mark.parametrize("place", ["cpu", "cpu/docker/7"])
def test_a_cpu_quota_of_the_first_cgroups_is_kept(tmp_path: Path, place: str, quota: str, cpus: int) -> None:
    own = "5:memory:/docker/7\n4:cpu,cpuacct:/docker/7\n1:name=systemd:/x\n0::/y\n"
    write(tmp_path, own, {f"{place}/cpu.cfs_period_us": "100000", f"{place}/cpu.cfs_quota_us": quota})
    assert usable_cpus(tmp_path) == cpus


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/a/b\n", {"a/memory.max": "1000\n", "a/b/memory.max": "max\n"}, 1000),
        ("0::/a/b\n", {"a/memory.max": "2000\n", "a/b/memory.max": "1000\n"}, 1000),
        ("5:memory:/docker/7\n0::/y\n", {"memory/memory.limit_in_bytes": "1000\n"}, 1000),
        ("5:memory:/d\n", {"memory/d/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("0::/\n", {}, None),
    ],
)
def test_a_memory_limit_is_kept(tmp_path: Path, own: str, files: dict[str, str], limit: int | None) -> None:
    write(tmp_path, own, files)
    assert usable_memory(tmp_path) == (limit or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def test_without_cgroups_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == CPUS
    write(tmp_path, "0::/nowhere/../..\n", {})
    assert usable_cpus(tmp_path) == CPUS


def test_documents_wait_in_order_for_memory() -> None:
    memory = Memory(100)
    assert memory.take(lambda: 60, 1) == 60
    with ThreadPoolExecutor(2) as waiting:
        large = waiting.submit(memory.take, lambda: 90, 5)
        until(lambda: len(memory._queue) == 1)
        small = waiting.submit(memory.take, lambda: 10, 5)
        until(lambda: len(memory._queue) == 2)
        assert not small.done()
        memory.give_back(60)
        assert (large.result(5), small.result(5)) == (90, 10)


def test_what_finds_no_memory_in_time_gives_way() -> None:
    memory = Memory(100)
    memory.take(lambda: 60, 1)
    with pytest.raises(WaitQueueTimeoutError, match=r"^no memory for 50 bytes within"):
        memory.take(lambda: 50, 0.05)
    assert memory.take(lambda: 40, 0.05) == 40
