"""Looking things up in results.json: groups, cells of all rounds together, and the same in words."""

from collections.abc import Callable, Iterable
from statistics import median
from typing import TypeVar

from loadtests.judge import figures
from loadtests.results.battle import Group, Ranked, Results
from loadtests.results.cell import Cell, Column

_Of = TypeVar("_Of")

DOCUMENTS = {"mongo": "small document", "mongo_big": "big document", "sleep": "/sleep"}


def cells(results: Results, label: str, column: Column) -> list[Cell]:
    """Return the cells of one entrant and column, by round."""
    found = [cell for cell in results.cells if cell.entrant == label and cell.column == column]
    return sorted(found, key=lambda cell: cell.round)


def group(results: Results, label: str, column: Column) -> Group | None:
    return next((each for each in results.summary.groups if (each.entrant, each.column) == (label, column)), None)


def group_of(results: Results, label: str, column: Column) -> Group:
    """Return the group of an entrant that was measured there."""
    found = group(results, label, column)
    assert found, "what was measured is in a group"
    return found


def ranking(results: Results, column: Column) -> Ranked:
    """Return the ranked column, without a row where nothing of it was measured."""
    return next(ranked for ranked in results.summary.ranking if ranked.column == column)


def columns(results: Results, endpoint: str) -> list[Column]:
    """Return the columns of an endpoint with the least latency added, by connections: normally with none added."""
    of_endpoint = [column for column in results.plan.columns if column.endpoint == endpoint]
    least = min((column.db_latency_ms for column in of_endpoint), default=0)
    found = [column for column in of_endpoint if column.db_latency_ms == least]
    return sorted(found, key=lambda column: column.connections)


def delayed_columns(results: Results) -> list[Column]:
    """Return the columns that show a slow database, by latency: of one endpoint and number of connections."""
    delayed = [column for column in results.plan.columns if column.db_latency_ms]
    if not delayed:
        return []
    first = min(delayed, key=lambda column: (list(DOCUMENTS).index(column.endpoint), column.connections))
    same = [
        column
        for column in results.plan.columns
        if column.endpoint == first.endpoint and column.connections == first.connections
    ]
    return sorted(same, key=lambda column: column.db_latency_ms)


def measured_endpoints(results: Results) -> list[str]:
    return [endpoint for endpoint in DOCUMENTS if columns(results, endpoint)]


def typical(found: Iterable[_Of], figure: Callable[[_Of], float | None]) -> float | None:
    """Return the median over the rounds of what ``figure`` takes from each, None where none has it."""
    known = [value for each in found if (value := figure(each)) is not None]
    return median(known) if known else None


def failed_by_class(found: Iterable[Cell]) -> dict[str, int]:
    """Return the failed requests of all rounds by class, codes gathered as ``4xx`` and ``5xx``."""
    counts: dict[str, int] = {}
    for cell in found:
        for name, count in cell.figures.outcomes.failures.items():
            kind = f"{name[0]}xx" if name.isdigit() else name
            counts[kind] = counts.get(kind, 0) + count
    return counts


def requests(found: Iterable[Cell]) -> int:
    """Return how many requests ended in the cells, well or not."""
    return sum(cell.figures.outcomes.ok + sum(cell.figures.outcomes.failures.values()) for cell in found)


def quantile_ms(cell: Cell, fraction: float) -> float | None:
    """Return the latency that this fraction of the replies did not exceed; None where there was no reply."""
    return figures.quantile_ms(cell.counts.wrk, fraction) if cell.counts.wrk.quantiles else None


def in_words(column: Column) -> str:
    """Return a column as a person says it: ``small document, 200 connections, 20 ms added to each find``."""
    added = f", {column.db_latency_ms} ms added to each find" if column.db_latency_ms else ""
    return f"{DOCUMENTS[column.endpoint]}, {column.connections:,} connections{added}"


def threads_held(results: Results, label: str, column: Column) -> float | None:
    """Return the server's threads for each open connection."""
    threads = typical(cells(results, label, column), lambda cell: cell.counts.server.threads)
    return None if threads is None else threads / column.connections
