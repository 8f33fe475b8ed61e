"""Results as a battle may leave them, made from tests/results/results-sample.json."""

import copy
from functools import cache
from typing import Any

from loadtests.report.page import page
from loadtests.results.battle import Results
from loadtests.settings import ROOT
from tests.results.sample import raw, results_of

Raw = dict[str, Any]


def usual() -> Results:
    """Two rounds, two numbers of connections, latency injected; one stack crashed in round two, one skipped."""
    return results_of(raw())


def single_repeat() -> Results:
    """One round: no interval anywhere."""
    return results_of(_single_repeat())


def without_latency_column() -> Results:
    """The usual plan, in which no latency was injected."""
    return results_of(_of_columns(delayed=False))


def only_delayed() -> Results:
    """``make battle DB_LATENCY_MS=20``: no column without latency, no fairness."""
    sample = _of_columns(delayed=True)
    for cell in sample["cells"]:
        cell["figures"]["fairness"] = None
    return results_of(sample)


def stopped_before_the_first_cell() -> Results:
    return results_of(raw() | {"state": "stopped", "cells": [], "starts": [], "failed": [], "skipped": []})


def stopped_in_round_one() -> Results:
    """Two stacks have some of their columns, the others none."""
    sample = raw() | {"state": "stopped", "failed": [], "skipped": []}
    sample["cells"] = [cell for cell in sample["cells"][:6] if cell["column"]["endpoint"] == "mongo"]
    return results_of(sample)


def nothing_but_failures() -> Results:
    """One stack answers every request with 500, slower than the timeout, and has no latency to show."""
    sample = _single_repeat()
    for cell in sample["cells"]:
        if cell["entrant"] == "gunicorn-sync":
            figures = cell["figures"]
            asked = figures["outcomes"]["ok"]
            figures["outcomes"] |= {"ok": 0, "status_5xx": {"500": asked}}
            figures["rate"]["ok_per_s"] = 0
            figures["latency_ms"] = dict.fromkeys(figures["latency_ms"], 0)
            cell["counts"]["wrk"] |= {"windows_ok": [], "quantiles": []}
            figures["ramp"] |= {"answered": 0, "all_answered_ms": None, "median_ms": None}
            nothing = ("cpu_ms_per_request", "user_ms_per_request", "system_ms_per_request")
            figures["cost"]["server"] |= dict.fromkeys(nothing)
            figures["cost"]["database"] = figures["alone_ms"] = figures["fairness"] = None
            cell["verdict"] |= {"bottleneck": "failing", "text": "Failing: 100 % of the requests failed."}
    return results_of(sample)


def as_in_2014() -> Results:
    """``make battle-2014``: thirteen entrants, variants among them, at three numbers of connections, three rounds."""
    sample = raw()
    by_stack = {entrant["label"]: entrant for entrant in sample["plan"]["entrants"]}
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
                    _slower(_cell(sample, source, column["endpoint"]), 1 - 0.04 * (place % 9), number, label, column)
                )
    sample["plan"] |= {"name": "battle-2014", "rounds": 3, "entrants": entrants, "columns": columns, "measure_s": 30}
    return results_of(sample | {"cells": cells, "failed": [], "skipped": [], "command": "make battle-2014"})


def _of_columns(delayed: bool) -> Raw:
    sample = raw()
    plan = sample["plan"]
    plan["columns"] = [column for column in plan["columns"] if bool(column["db_latency_ms"]) == delayed]
    sample["cells"] = [cell for cell in sample["cells"] if cell["column"] in plan["columns"]]
    return sample


def _single_repeat() -> Raw:
    sample = raw()
    sample["plan"]["rounds"] = 1
    sample["cells"] = [cell for cell in sample["cells"] if cell["round"] == 1]
    return sample


def _cell(sample: Raw, source: str, endpoint: str) -> Raw:
    wanted = {"endpoint": endpoint, "connections": 200, "db_latency_ms": 0}
    found = (cell for cell in sample["cells"] if cell["entrant"] == source and cell["column"] == wanted)
    return copy.deepcopy(next(found))


def _slower(cell: Raw, factor: float, number: int, label: str, column: Raw) -> Raw:
    busier = column["connections"] / 200
    cell |= {"entrant": label, "round": number, "column": column}
    figures, wrk, server = cell["figures"], cell["counts"]["wrk"], cell["figures"]["cost"]["server"]
    rate = figures["rate"]["ok_per_s"]
    figures["rate"]["ok_per_s"] = round(rate * factor * (1 + 0.01 * number) * busier**-0.1, 1)
    wrk["quantiles"] = [[at, ms * busier / factor] for at, ms in wrk["quantiles"]]
    server["pss_peak_bytes"] = int(server["pss_peak_bytes"] * (0.9 + 0.1 * busier))
    if column["connections"] == 5000 and factor < 0.8:
        figures["outcomes"] |= {"timeout": 900, "reset": 120, "status_5xx": {"503": 40}}
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
