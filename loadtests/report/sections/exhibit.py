"""What a figure is, and what the figures share: who stands where, in which words, beside what the article had."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from loadtests.report import article
from loadtests.report.drawing import charts
from loadtests.report.drawing.svg import Chart
from loadtests.report.reading import cells, columns, in_words, measured_endpoints, ranking
from loadtests.results.battle import Entrant, Results
from loadtests.results.cell import Cell, Column
from loadtests.results.words import Table

Row = dict[str, Any]
MEGABYTE = 1_000_000
Legend = list[tuple[str, str]]


@dataclass(frozen=True)
class Figure:
    """A chart with its table.

    ``chart`` draws it for a width in pixels; it is None where there is nothing to draw, and ``note`` then says why.
    ``legend`` holds names of the palette with what they stand for.
    """

    id: str
    title: str
    note: str
    table: Table
    chart: Callable[[int], Chart] | None = None
    legend: Legend = field(default_factory=list)


def drawn(chart: Callable[..., Chart], rows: list[Row], **how: Any) -> Callable[[int], Chart] | None:
    """Return ``chart`` waiting for its width, None without a row."""
    return (lambda width: chart(rows, width=width, **how)) if rows else None


def measured(results: Results, endpoint: str) -> Iterator[tuple[Entrant, Column, list[Cell]]]:
    """Yield who was measured at an endpoint, with the cells of all rounds."""
    for entrant in ordered(results):
        for column in columns(results, endpoint):
            if found := cells(results, entrant.label, column):
                yield entrant, column, found


def ordered(results: Results) -> list[Entrant]:
    """Return the entrants as ranked in the first column, so that a stack keeps its place from chart to chart."""
    first = columns(results, measured_endpoints(results)[0])[0]
    ranked = [row.entrant for row in ranking(results, first).rows]
    there = results.plan.contestants
    return sorted(there, key=lambda entrant: ranked.index(entrant.label) if entrant.label in ranked else len(there))


def row(entrant: Entrant, column: Column, **figures: Any) -> Row:
    """Return a row of a chart; the tooltip ``says`` begins with who and where."""
    says = f"{entrant.label}, {in_words(column)}: {figures.pop('says', '')}"
    place = {"entrant": entrant.label, "model": entrant.model, "connections": column.connections}
    return {**place, "says": says, **figures}


def in_2014(results: Results, entrant: Entrant, column: Column) -> article.Run | None:
    """Return the article's run that is most like this one, None where there is none."""
    if column.db_latency_ms:
        return None
    workers = entrant.settings.get("WEB_CONCURRENCY")
    many = bool(workers and int(workers) > results.environment.cpus_usable)
    return article.counterpart(entrant.stack, column.endpoint, column.connections, many)


def models(rows: list[Row]) -> Legend:
    there = {row["model"] for row in rows}
    return [(model, words) for model, words in charts.MODELS.items() if model in there]


def which_lines(rows: list[Row], shaded: bool = True) -> str:
    """Say which line of an entrant is which number of connections."""
    several = sorted({row["connections"] for row in rows})
    if len(several) < 2:
        return f"{number(several[0])} connections." if several else ""
    names = ", ".join(map(number, several))
    return f"{'From dark to pale, from' if shaded else 'From'} top to bottom: {names} connections."


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def short(value: float | None) -> str:
    """Return three digits that count, such as ``0.123``, ``12.3``, ``1,234``."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def megabytes(value_bytes: float | None) -> str:
    return number(None if value_bytes is None else value_bytes / MEGABYTE)
