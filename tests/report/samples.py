"""Results as a battle may leave them, made from tests/data/results-sample.json."""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

from loadtests.report.page import page
from loadtests.results.file import summarise
from loadtests.settings import ROOT

Results = dict[str, Any]
_SAMPLE = Path(__file__).parents[1] / "data" / "results-sample.json"


def usual() -> Results:
    """Two rounds, two numbers of connections, latency injected; one stack crashed in round two, one skipped."""
    return json.loads(_SAMPLE.read_text())  # type: ignore[no-any-return]


def single_repeat() -> Results:
    """One round: no interval anywhere."""
    results = usual()
    results["plan"]["rounds"] = 1
    results["cells"] = [cell for cell in results["cells"] if cell["round"] == 1]
    summarise(results)
    return results


def without_latency_column() -> Results:
    """The usual plan, in which no latency was injected."""
    results = usual()
    results["plan"]["columns"] = [column for column in results["plan"]["columns"] if not column["db_latency_ms"]]
    results["cells"] = [cell for cell in results["cells"] if not cell["db_latency_ms"]]
    summarise(results)
    return results


def only_delayed() -> Results:
    """``make battle DB_LATENCY_MS=20``: no column without latency, no fairness."""
    results = usual()
    results["plan"]["columns"] = [column for column in results["plan"]["columns"] if column["db_latency_ms"]]
    results["cells"] = [{**cell, "fairness": None} for cell in results["cells"] if cell["db_latency_ms"]]
    summarise(results)
    return results


def stopped_before_the_first_cell() -> Results:
    results = usual()
    results |= {"state": "stopped", "cells": [], "starts": [], "failed": [], "skipped": []}
    summarise(results)
    return results


def stopped_in_round_one() -> Results:
    """Two stacks have some of their columns, the others none."""
    results = usual()
    results |= {"state": "stopped", "failed": [], "skipped": []}
    results["cells"] = [cell for cell in results["cells"][:6] if cell["endpoint"] == "mongo"]
    summarise(results)
    return results


def nothing_but_failures() -> Results:
    """One stack answers every request with 500, slower than the timeout, and has no latency to show."""
    results = single_repeat()
    for cell in results["cells"]:
        if cell["entrant"] == "gunicorn-sync":
            asked = cell["outcomes"]["ok"]
            cell["outcomes"] |= {"ok": 0, "status_5xx": {"500": asked}}
            cell["rate"] |= {"ok_per_s": 0, "windows_ok": []}
            cell["latency_ms"] |= {
                "mean": 0,
                "p50": 0,
                "p90": 0,
                "p99": 0,
                "p999": 0,
                "max": 0,
                "quantiles": [],
                "samples": 0,
            }
            cell["latency_ms"]["as_wrk_prints"] = {}
            cell["ramp"] |= {"answered": 0, "all_answered_ms": None, "median_ms": None}
            cell["cost"]["server"] |= {
                "cpu_ms_per_request": None,
                "user_ms_per_request": None,
                "system_ms_per_request": None,
            }
            cell["cost"]["database"] = None
            cell["unloaded_ms"] = None
            cell["fairness"] = None
            cell["verdict"] |= {"bottleneck": "failing", "text": "Failing: 100 % of the requests failed."}
    summarise(results)
    return results


def as_in_2014() -> Results:
    """``make battle-2014``: thirteen entrants, variants among them, at three numbers of connections, three rounds."""
    results = usual()
    by_stack = {entrant["label"]: entrant for entrant in results["plan"]["entrants"]}
    sources = {
        "uwsgi-threads": "uwsgi-threads",
        "uwsgi-gevent [1 process]": "gunicorn-gevent",
        "uwsgi-gevent [2 processes]": "gunicorn-gevent",
        "gunicorn-sync [5 workers]": "gunicorn-sync",
        "gunicorn-gthread": "uwsgi-threads",
        "gunicorn-gevent [2 workers]": "gunicorn-gevent",
        "gunicorn-gevent [5 workers]": "gunicorn-gevent",
        "tornado": "tornado",
        "tornado-pymongo": "tornado",
        "node": "node",
        "play": "node",
        "play-blocking": "node",
        "gunicorn-gevent [2 workers] [again]": "gunicorn-gevent",
    }
    columns: list[dict[str, Any]] = [
        {"endpoint": endpoint, "connections": connections, "db_latency_ms": 0}
        for connections in (200, 1000, 5000)
        for endpoint in ("mongo", "mongo_big")
    ]
    entrants, cells = [], []
    for place, (label, source) in enumerate(sources.items()):
        stack = label.split(" [", maxsplit=1)[0]
        settings = {"WEB_CONCURRENCY": label.split("[")[1][0]} if "[" in label else {}
        repeats = label.removesuffix(" [again]") if label.endswith("[again]") else None
        entrants.append({**by_stack[source], "label": label, "stack": stack, "settings": settings, "repeats": repeats})
        for column in columns:
            for number in (1, 2, 3):
                cells.append(
                    _slower(_cell(results, source, column["endpoint"]), 1 - 0.04 * (place % 9), number, label, column)
                )
    results["plan"] |= {"name": "battle-2014", "rounds": 3, "entrants": entrants, "columns": columns, "measure_s": 30}
    results |= {"cells": cells, "failed": [], "skipped": [], "command": "make battle-2014"}
    summarise(results)
    return results


def _cell(results: Results, source: str, endpoint: str) -> dict[str, Any]:
    return copy.deepcopy(
        next(
            cell
            for cell in results["cells"]
            if cell["entrant"] == source and cell["endpoint"] == endpoint and not cell["db_latency_ms"]
        )
    )


def _slower(cell: dict[str, Any], factor: float, number: int, label: str, column: dict[str, Any]) -> dict[str, Any]:
    busier = column["connections"] / 200
    cell |= {"entrant": label, "round": number, **column}
    cell["rate"]["ok_per_s"] = round(cell["rate"]["ok_per_s"] * factor * (1 + 0.01 * number) * busier**-0.1, 1)
    cell["latency_ms"]["quantiles"] = [[at, ms * busier / factor] for at, ms in cell["latency_ms"]["quantiles"]]
    cell["cost"]["server"]["pss_peak_bytes"] = int(cell["cost"]["server"]["pss_peak_bytes"] * (0.9 + 0.1 * busier))
    if column["connections"] == 5000 and factor < 0.8:
        cell["outcomes"] |= {"timeout": 900, "reset": 120, "status_5xx": {"503": 40}}
    return cell


ALL = (
    usual,
    single_repeat,
    without_latency_column,
    only_delayed,
    stopped_before_the_first_cell,
    stopped_in_round_one,
    nothing_but_failures,
    as_in_2014,
)


@cache
def rendered(name: str) -> str:
    """Return the page of a sample, as it would lie in a folder of ``results/``."""
    sample = next(sample for sample in ALL if sample.__name__ == name)
    return page(sample(), ROOT / "results" / "any")
