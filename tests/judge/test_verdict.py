"""What limited a measurement, by tables."""

from dataclasses import replace
from typing import Any

import pytest

from loadtests.judge.figures import ceiling
from loadtests.judge.verdict import Evidence, judge

EVIDENCE = Evidence(
    slots_are="worker processes",
    connections=200,
    ok_per_s=2000,
    mean_latency_ms=100,
    failed_fraction=0,
    db_latency_ms=0,
    slots=None,
    workers=2,
    machine_busy=0.4,
    machine_cpus=8,
    pinned=False,
    server_cores=1.0,
    server_cpus=8,
    server_by_process=(0.5, 0.5, 0.0),
    load_cores=0.3,
    load_threads=1,
    load_cpus=8,
    database_cores=0.5,
    database_cpus=8,
)


@pytest.mark.parametrize(
    ("known", "bottleneck", "lower_bound"),
    [
        ({}, "waiting", False),
        ({"failed_fraction": 0.6}, "failing", False),
        ({"load_cores": 0.95}, "load generator CPU", True),
        # Two threads of wrk that may run on one CPU only.
        ({"load_cores": 0.95, "load_threads": 2, "load_cpus": 1}, "load generator CPU", True),
        ({"load_cores": 0.95, "load_threads": 2}, "waiting", False),
        ({"machine_busy": 0.97, "server_cores": 5.0, "database_cores": 2.0}, "server CPU", False),
        ({"machine_busy": 0.97, "server_cores": 2.0, "database_cores": 5.0}, "database CPU", True),
        (
            {"machine_busy": 0.97, "machine_cpus": 2, "load_cores": 0.85, "server_cores": 0.6},
            "load generator CPU",
            True,
        ),
        ({"machine_busy": 0.97, "server_cores": 1.0, "database_cores": 0.5}, "not clear", False),
        ({"pinned": True, "server_cpus": 4, "server_cores": 3.8, "server_by_process": (0.9,) * 4}, "server CPU", False),
        ({"pinned": True, "database_cpus": 2, "database_cores": 1.9}, "database CPU", True),
        ({"pinned": True, "machine_busy": 0.99, "server_cpus": 4, "database_cpus": 2}, "not clear", False),
        ({"server_by_process": (0.97, 0.1, 0.0)}, "one worker of many busy", False),
        ({"server_by_process": (0.97, 0.96, 0.0)}, "server CPU", False),
        ({"server_by_process": (0.97, 0.1), "workers": 1}, "server CPU", False),
        # A process whose threads run side by side is not full at one core.
        ({"server_by_process": (1.3,), "workers": 1}, "waiting", False),
        ({"db_latency_ms": 50, "ok_per_s": 97, "slots": 5}, "pool too small", False),
        ({"db_latency_ms": 50, "ok_per_s": 3900, "slots": 400}, "waiting", False),
        ({"db_latency_ms": 20, "ok_per_s": 960}, "pool too small", False),
        ({"db_latency_ms": 20, "ok_per_s": 9500}, "waiting", False),
        ({"machine_busy": 0.85}, "not clear", False),
        ({"machine_busy": 0.85, "database_cores": None}, "not clear", False),
    ],
)
def test_verdict(known: dict[str, Any], bottleneck: str, lower_bound: bool) -> None:
    verdict = judge(replace(EVIDENCE, **known))
    assert (verdict.bottleneck, verdict.lower_bound) == (bottleneck, lower_bound), verdict
    assert verdict.text.lower().startswith(bottleneck.lower())
    assert ("lower bound" in verdict.text) == lower_bound


@pytest.mark.parametrize(
    ("slots", "connections", "latency_ms", "per_s"),
    [(5, 200, 50, 100.0), (400, 200, 20, 10_000.0), (None, 200, 20, None), (5, 200, 0, None)],
)
def test_ceiling_by_littles_law(slots: int | None, connections: int, latency_ms: int, per_s: float | None) -> None:
    found = ceiling(slots, connections, latency_ms)
    assert (found.per_s if found else None) == per_s
