"""What it costs: processor time, memory, threads, context switches."""

from functools import partial

from loadtests.report.drawing import charts
from loadtests.report.reading import DOCUMENTS, columns, in_words, measured_endpoints, typical
from loadtests.report.sections.exhibit import (
    MEGABYTE,
    Figure,
    capital,
    drawn,
    measured,
    megabytes,
    models,
    number,
    row,
    short,
    which_lines,
)
from loadtests.results.battle import Results
from loadtests.results.cell import Cell
from loadtests.results.words import Table


def processor_time(results: Results, endpoint: str) -> Figure:
    """Draw CPU milliseconds for each request: server, database, load generator."""
    rows, first = [], columns(results, endpoint)[0]
    table = Table(["stack", "connections", "server ms", "user", "system", "database ms", "load ms", "server cores"])
    for entrant, column, found in measured(results, endpoint):
        spent = {part: typical(found, partial(_cost, "cpu_ms_per_request", part=part)) for part in charts.PARTS}
        user, system, cores = (
            short(typical(found, partial(_cost, figure)))
            for figure in ("user_ms_per_request", "system_ms_per_request", "cores")
        )
        server, database, load = (short(spent[part]) for part in ("server", "database", "load"))
        table.add(entrant.label, number(column.connections), server, user, system, database, load, cores)
        if column == first:
            for part, (_, words) in charts.PARTS.items():
                says = f"{words} {short(spent[part])} ms"
                rows.append(row(entrant, column, kind=part, amount=spent[part] or 0, says=says))
    return Figure(
        f"processor-{endpoint}",
        f"{capital(DOCUMENTS[endpoint])}: CPU for each request",
        f"Of all processes of the server, of mongod, and of wrk. {capital(in_words(first))}.",
        table,
        drawn(charts.processor_time, rows),
        list(charts.PARTS.values()),
    )


def memory(results: Results) -> Figure:
    rows, table = [], Table(["stack", "connections", "peak MB", "mean MB", "processes", "start to first answer s"])
    for entrant, column, found in measured(results, measured_endpoints(results)[0]):
        peak, mean = (typical(found, partial(_cost, figure)) for figure in ("pss_peak_bytes", "pss_mean_bytes"))
        processes = typical(found, lambda cell: cell.counts.server.processes)
        starts = [start for start in results.starts if start.entrant == entrant.label]
        ready_s = short(typical(starts, lambda start: start.ready_s))
        count = number(column.connections)
        table.add(entrant.label, count, megabytes(peak), megabytes(mean), number(processes), ready_s)
        if peak is not None:
            text = f"{megabytes(peak)} MB"
            rows.append(row(entrant, column, amount=peak / MEGABYTE, text=text, says=text))
    return Figure(
        "memory",
        "Memory by connections",
        f"Peak of all the server's processes, shared pages counted once (PSS). {which_lines(rows)}",
        table,
        drawn(charts.amounts, rows, title="MB"),
        models(rows),
    )


def threads(results: Results) -> Figure:
    rows, table = [], Table(["stack", "connections", "threads", "threads for each connection"])
    for entrant, column, found in measured(results, measured_endpoints(results)[0]):
        count = typical(found, lambda cell: cell.counts.server.threads) or 0
        table.add(entrant.label, number(column.connections), number(count), f"{count / column.connections:.2f}")
        rows.append(row(entrant, column, amount=count, text=number(count), says=f"{number(count)} threads"))
    return Figure(
        "threads",
        "Threads",
        f"Of all the server's processes. {which_lines(rows)}",
        table,
        drawn(charts.amounts, rows, title="threads"),
        models(rows),
    )


def switches(results: Results) -> Figure:
    rows, endpoint = [], measured_endpoints(results)[0]
    first = columns(results, endpoint)[0]
    table = Table(["stack", "connections", "voluntary for each request", "involuntary for each request"])
    for entrant, column, found in measured(results, endpoint):
        amounts = {kind: typical(found, partial(_switches, kind)) for kind in ("voluntary", "involuntary")}
        table.add(entrant.label, number(column.connections), *map(short, amounts.values()))
        if column == first:
            for kind, amount in amounts.items():
                says = f"{short(amount)} {kind} switches for each request"
                rows.append(row(entrant, column, kind=kind, amount=amount or 0, says=says))
    return Figure(
        "switches",
        "Context switches",
        "For each request: dark where a thread gave its processor up to wait, pale where it was taken away. "
        f"{capital(in_words(first))}.",
        table,
        drawn(charts.switches, rows),
        models(rows),
    )


def _cost(figure: str, cell: Cell, part: str = "server") -> float | None:
    spent = getattr(cell.figures.cost, part)
    value: float | None = getattr(spent, figure) if spent else None
    return value


def _switches(kind: str, cell: Cell) -> float | None:
    replies = sum(cell.counts.wrk.windows_ok)
    count: int = getattr(cell.counts.server, f"{kind}_switches")
    return count / replies if replies else None
