"""How long a reply takes, how long the first one takes when all arrive at once, and whether all are served alike."""

from functools import partial
from operator import attrgetter

from loadtests.report import article
from loadtests.report.drawing import charts
from loadtests.report.reading import DOCUMENTS, columns, measured_endpoints, quantile_ms, typical
from loadtests.report.sections.exhibit import (
    Figure,
    capital,
    drawn,
    in_2014,
    measured,
    models,
    number,
    ordered,
    row,
    short,
    which_lines,
)
from loadtests.results.battle import Results
from loadtests.results.words import Table

_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
_BANDS = {"p0": 0.0, "p10": 0.1, "p25": 0.25, "p75": 0.75}
_HOW_TO_READ = (
    "Half of the replies lie in the dark band, 80 % in the pale one; the bar in it is the median. Dot: p99, ring: "
    "p99.9, end: the slowest. With so many connections a reply mostly waits for those before it: the table has the "
    "latency of a single client."
)


def latency(results: Results, endpoint: str) -> Figure:
    """Draw the latency distribution of each stack as a span."""
    rows = []
    under_load = (f"{name} ms" for name in ("p50", "p90", "p99", "p99.9", "max"))
    table = Table(["stack", "connections", "one client, p50 ms", *under_load])
    for entrant, column, found in measured(results, endpoint):
        alone = typical(found, lambda cell: cell.figures.alone_ms.median if cell.figures.alone_ms else None)
        known = {
            name: typical(found, partial(quantile_ms, fraction=at)) for name, at in (_BANDS | _PERCENTILES).items()
        }
        percentiles = [short(known[name]) for name in _PERCENTILES]
        table.add(entrant.label, number(column.connections), short(alone), *percentiles)
        if None in known.values():
            continue
        old = in_2014(results, entrant, column)
        rows.append(
            row(
                entrant,
                column,
                **known,
                says="p50 {}, p90 {}, p99 {}, p99.9 {}, max {} ms".format(*percentiles),
                article_ms=old["latency_mean_ms"] if old else None,
                article_says=_said_in_2014(old) if old else "",
            )
        )
    grey = any(line["article_ms"] for line in rows)
    return Figure(
        f"latency-{endpoint}",
        f"{capital(DOCUMENTS[endpoint])}: how long a reply takes under load",
        f"{_HOW_TO_READ} {which_lines(rows, shaded=False)}" if rows else "No reply was measured.",
        table,
        drawn(charts.latency_spans, rows),
        models(rows) + ([("article", "mean of 2014, which had no percentiles")] if grey else []),
    )


def curves(results: Results) -> Figure:
    """Draw the whole latency distribution of each stack, both documents."""
    rows, endpoints = [], measured_endpoints(results)
    shown = (0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999)
    table = Table(["stack", "document", *(f"p{100 * at:g} ms" for at in shown)])
    for endpoint in endpoints:
        for entrant, column, found in measured(results, endpoint):
            if column != columns(results, endpoint)[0]:
                continue
            for fraction in (at for at, _ in found[0].counts.wrk.quantiles if at < 1):
                if ms := typical(found, partial(quantile_ms, fraction=fraction)):
                    rows.append(row(entrant, column, endpoint=endpoint, fraction=fraction, ms=ms))
            at_shown = (typical(found, partial(quantile_ms, fraction=at)) for at in shown)
            table.add(entrant.label, DOCUMENTS[endpoint], *map(short, at_shown))
    places = [entrant.label for entrant in ordered(results)]
    fewest = columns(results, endpoints[0])[0].connections
    return Figure(
        "latency-curves",
        "The whole distribution",
        "Across: percent of the replies, each further nine as wide as the last. Up: the milliseconds that they took at "
        f"most. Flat is even; a line that rises late has a long tail. {fewest:,} connections.",
        table,
        drawn(charts.latency_curves, sorted(rows, key=lambda line: places.index(line["entrant"]))),
        [charts.ENDPOINTS[endpoint] for endpoint in endpoints],
    )


def ramp(results: Results) -> Figure:
    """Draw how long it took until each of the connections, opened at once, had its first reply."""
    rows, table = [], Table(["stack", "connections", "all answered after ms", "median ms", "answered"])
    for entrant, column, found in measured(results, measured_endpoints(results)[0]):
        everyone = typical(found, lambda cell: cell.figures.ramp.all_answered_ms)
        middle = typical(found, lambda cell: cell.figures.ramp.median_ms)
        answered = min(cell.figures.ramp.answered for cell in found)
        count = number(column.connections)
        table.add(entrant.label, count, short(everyone), short(middle), f"{answered:,} of {count}")
        text = f"only {answered:,} answered" if everyone is None else f"{short(everyone)} ms"
        rows.append(row(entrant, column, amount=everyone or 0, text=text, says=text))
    return Figure(
        "ramp",
        "The ramp: everybody arrives at once",
        f"Until each connection has had its first reply; kept out of all other figures. {which_lines(rows)}",
        table,
        drawn(charts.amounts, rows, title="ms until all are answered"),
        models(rows),
    )


def fairness(results: Results) -> Figure:
    """Draw how evenly the connections were served, each stack's median being 1."""
    rows, spread_of = [], ("least", "p10", "median", "p90", "most")
    table = Table(["stack", "connections", *spread_of, "Jain's index", "longest gap ms", "never answered"])
    for entrant, column, found in measured(results, measured_endpoints(results)[0]):
        seen = [cell.figures.fairness for cell in found if cell.figures.fairness]
        if not seen:
            continue
        replies = {name: typical([fair.replies for fair in seen], attrgetter(name)) or 0.0 for name in spread_of}
        index = typical(seen, lambda fair: fair.jain) or 0.0
        counts = [number(value) for value in replies.values()]
        gap_ms = number(max(fair.longest_gap_ms for fair in seen))
        never = number(max(fair.unanswered for fair in seen))
        table.add(entrant.label, number(column.connections), *counts, f"{index:.2f}", gap_ms, never)
        middle = replies["median"]
        share = {name: value / middle if middle else 0.0 for name, value in replies.items()}
        says = f"least {counts[0]}, median {counts[2]}, most {counts[4]} replies"
        rows.append(row(entrant, column, **share, text=f"Jain {index:.2f}", says=says))
    note = (
        "Replies of a connection against those of the stack's median connection, which is 1: from the least to the "
        "most served, thick for the middle 80 %. Jain's index is 1 when all get the same. The longest silence of any "
        f"connection is in the table. {which_lines(rows, shaded=False)}"
    )
    return Figure(
        "fairness",
        "Fairness: is everybody served alike?",
        note if rows else "Not measured in this plan.",
        table,
        drawn(charts.shares, rows, title="times the median connection"),
        models(rows),
    )


def _said_in_2014(run: article.Run) -> str:
    return f"2014, {article.name(run)}: mean {run['latency_mean_ms']:,.0f} ms, max {run['latency_max_ms']:,.0f} ms"
