"""Throughput against the latency that was added to each find, and the ceiling that Little's law sets."""

from loadtests.report.answers import per_s
from loadtests.report.drawing import charts
from loadtests.report.reading import DOCUMENTS, cells, delayed_columns, group
from loadtests.report.sections.exhibit import Figure, Row, capital, drawn, models, number, ordered, row
from loadtests.results.battle import Entrant, Results
from loadtests.results.cell import Column
from loadtests.results.words import Table

_POINTS = 40
# Room above what was measured, so that a ceiling that is out of reach is seen to be so.
_HEADROOM = 2.5
_NOT_PLANNED = (
    'Not measured: this plan added no latency. Add DB_LATENCY_MS="0 20 100" to the command to see who can wait.'
)


def slow_database(results: Results) -> Figure:
    """Draw throughput against injected latency, with the ceiling of each stack."""
    chosen, rows = delayed_columns(results), []
    table = Table(["stack", "latency added ms", "right replies/s", "ceiling/s", "of it", "what limited it"])
    for entrant in ordered(results):
        for column in chosen:
            found = group(results, entrant.label, column)
            if not found:
                continue
            added_ms, rate = column.db_latency_ms, found.ok_per_s.median
            most = _slots(results, entrant, column) * 1000 / added_ms if added_ms else None
            share = f"{100 * rate / most:.0f} %" if most else "–"
            limits = ", ".join(found.bottlenecks)
            table.add(entrant.label, f"{added_ms}", per_s(found), number(most), share, limits)
            rows.append(row(entrant, column, latency_ms=added_ms, per_s=rate, says=f"{rate:,.0f} a second"))
    ceilings = _ceilings(results, chosen, rows) if rows else []
    return Figure(
        "slow-database",
        "When the database is slow",
        _how_to_read(chosen[0]) if rows else "Not measured yet." if chosen else _NOT_PLANNED,
        table,
        drawn(charts.slow_database, rows, ceilings=ceilings),
        [*models(rows), ("muted", "ceiling, slots / latency")] if rows else [],
    )


def _ceilings(results: Results, chosen: list[Column], rows: list[Row]) -> list[Row]:
    """Return the points of each entrant's ceiling that are in the picture."""
    highest = max(line["per_s"] for line in rows) * _HEADROOM
    latest_ms = chosen[-1].db_latency_ms
    there = {line["entrant"] for line in rows}
    points = []
    for entrant in ordered(results):
        slots = _slots(results, entrant, chosen[-1])
        # Left of this latency the ceiling is above the picture.
        first_ms = slots * 1000 / highest if highest else latest_ms
        if entrant.label in there and first_ms <= latest_ms:
            for step in range(_POINTS + 1):
                at_ms = first_ms + (latest_ms - first_ms) * step / _POINTS
                points.append({"entrant": entrant.label, "latency_ms": at_ms, "per_s": slots * 1000 / at_ms})
    return points


def _slots(results: Results, entrant: Entrant, column: Column) -> int:
    known = [cell.known.slots for cell in cells(results, entrant.label, column) if cell.known.slots]
    return min(*known, column.connections) if known else column.connections


def _how_to_read(column: Column) -> str:
    return (
        "Across: milliseconds added to each find inside mongod. Up: right replies a second. Dashed: what Little's law "
        "allows, slots / latency; the slots are the finds that a stack can have under way at once, and never more than "
        f"the {column.connections:,} connections. {capital(DOCUMENTS[column.endpoint])}."
    )
