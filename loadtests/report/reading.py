"""Looking things up in results.json: groups, cells of all rounds together, and the same in words."""

from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

from loadtests.judge.figures import failures

Results = dict[str, Any]
Column = dict[str, Any]
Cell = dict[str, Any]
Entrant = dict[str, Any]

DOCUMENTS = {"mongo": "small document", "mongo_big": "big document", "sleep": "/sleep"}


def entrants(results: Results, with_repeats: bool = False) -> list[Entrant]:
    """Return the plan's entrants; the second run of an A/A pair is there to show the noise and is left out."""
    return [entrant for entrant in results["plan"]["entrants"] if with_repeats or not entrant["repeats"]]


def cells(results: Results, label: str, column: Column) -> list[Cell]:
    """Return the cells of one entrant and column, by round."""
    found = [cell for cell in results["cells"] if cell["entrant"] == label and is_of(cell, column)]
    return sorted(found, key=lambda cell: int(cell["round"]))


def group(results: Results, label: str, column: Column) -> dict[str, Any] | None:
    for found in results["summary"]["groups"]:
        if found["entrant"] == label and found["column"] == column:
            return found  # type: ignore[no-any-return]
    return None


def ranking(results: Results, column: Column) -> dict[str, Any]:
    """Return the ranked column, without a row where nothing of it was measured."""
    nothing = {"column": column, "noise": {"fraction": 0.0, "source": "assumed"}, "rows": []}
    return next((ranked for ranked in results["summary"]["ranking"] if ranked["column"] == column), nothing)


def is_of(cell: Cell, column: Column) -> bool:
    return all(cell[name] == value for name, value in column.items())


def columns(results: Results, endpoint: str) -> list[Column]:
    """Return the columns of an endpoint with the least latency added, by connections: normally with none added."""
    of_endpoint = [column for column in results["plan"]["columns"] if column["endpoint"] == endpoint]
    least = min((column["db_latency_ms"] for column in of_endpoint), default=0)
    found = [column for column in of_endpoint if column["db_latency_ms"] == least]
    return sorted(found, key=lambda column: int(column["connections"]))


def delayed_columns(results: Results) -> list[Column]:
    """Return the columns that show a slow database, by latency: of one endpoint and number of connections."""
    delayed = [column for column in results["plan"]["columns"] if column["db_latency_ms"]]
    if not delayed:
        return []
    first = min(delayed, key=lambda column: (list(DOCUMENTS).index(column["endpoint"]), column["connections"]))
    same = [
        column
        for column in results["plan"]["columns"]
        if column["endpoint"] == first["endpoint"] and column["connections"] == first["connections"]
    ]
    return sorted(same, key=lambda column: int(column["db_latency_ms"]))


def measured_endpoints(results: Results) -> list[str]:
    return [endpoint for endpoint in DOCUMENTS if columns(results, endpoint)]


def typical(found: Iterable[Cell], figure: Callable[[Cell], float | None]) -> float | None:
    """Return the median over the rounds of what ``figure`` takes from a cell, None where no cell has it."""
    known = [value for cell in found if (value := figure(cell)) is not None]
    return median(known) if known else None


def failed_by_class(found: Iterable[Cell]) -> dict[str, int]:
    """Return the failed requests of all rounds by class, codes gathered as ``4xx`` and ``5xx``."""
    counts: dict[str, int] = {}
    for cell in found:
        for name, count in failures(cell["outcomes"]).items():
            kind = f"{name[0]}xx" if name.isdigit() else name
            counts[kind] = counts.get(kind, 0) + count
    return counts


def requests(found: Iterable[Cell]) -> int:
    """Return how many requests ended in the cells, well or not."""
    return sum(cell["outcomes"]["ok"] + sum(failures(cell["outcomes"]).values()) for cell in found)


def quantile_ms(cell: Cell, fraction: float) -> float | None:
    """Return the latency that this fraction of the replies did not exceed; None where there was no reply."""
    return next((float(ms) for at, ms in cell["latency_ms"]["quantiles"] if at >= fraction - 1e-9), None)


def in_words(column: Column) -> str:
    """Return a column as a person says it: ``small document, 200 connections, 20 ms added to each find``."""
    added = f", {column['db_latency_ms']} ms added to each find" if column["db_latency_ms"] else ""
    return f"{DOCUMENTS[column['endpoint']]}, {column['connections']:,} connections{added}"


def threads_held(results: Results, label: str, column: Column) -> float | None:
    """Return the server's threads for each open connection."""
    threads = typical(cells(results, label, column), lambda cell: cell["cost"]["server"]["threads"])
    return None if threads is None else threads / column["connections"]
