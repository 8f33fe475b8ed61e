"""What limited a measurement, by tables."""

from typing import Any

import pytest

from loadtests.judge.figures import ceiling
from loadtests.judge.verdict import judge
from loadtests.results.cell import Cell, Verdict
from tests.results.sample import raw


def judged(
    failed: int = 0,
    ok_per_s: float = 2000,
    db_latency_ms: int = 0,
    machine_busy: float = 0.4,
    server_cores: float = 1.0,
    server_by_process: tuple[float, ...] = (0.5, 0.5, 0.0),
    load_cores: float = 0.3,
    database_cores: float | None = 0.5,
    **known: Any,
) -> Verdict:
    """Judge a cell of these figures, with 8 CPUs for all parts and ``failed`` of 1,000 requests."""
    cell = raw()["cells"][0]
    figures, cost = cell["figures"], cell["figures"]["cost"]
    cell["column"]["db_latency_ms"] = db_latency_ms
    figures["rate"]["ok_per_s"] = ok_per_s
    figures["outcomes"] |= {"ok": 1000 - failed, "status_5xx": {"500": failed}}
    figures["machine"] |= {"busy": machine_busy, "steal": 0}
    cost["server"] |= {"cores": server_cores, "cores_by_process": server_by_process}
    cost["load"]["cores"] = load_cores
    cost["database"] = {**cost["database"], "cores": database_cores} if database_cores is not None else None
    cpus = dict.fromkeys(("machine_cpus", "server_cpus", "load_cpus", "database_cpus"), 8)
    cell["known"] |= {**cpus, "slots": None, **known}
    made = Cell.model_validate(cell)
    return judge(made.known, made.column, made.figures)


@pytest.mark.parametrize(
    ("known", "bottleneck", "lower_bound"),
    [
        ({}, "waiting", False),
        ({"failed": 600}, "failing", False),
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
    verdict = judged(**known)
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
