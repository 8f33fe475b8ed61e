"""The report's figures: from results to a chart, what it says, and the same as a table."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from loadtests.report import article, charts
from loadtests.report.answers import MEGABYTE, interval, per_s
from loadtests.report.drawing import Chart
from loadtests.report.reading import (
    DOCUMENTS,
    Cell,
    Column,
    Entrant,
    Results,
    cells,
    columns,
    delayed_columns,
    entrants,
    failed_by_class,
    group,
    in_words,
    measured_endpoints,
    quantile_ms,
    ranking,
    requests,
    typical,
)

Row = dict[str, Any]
_CEILING_POINTS = 40
_HEADROOM = 2.5


@dataclass(frozen=True)
class Table:
    """A heading for each column, and rows of as many texts."""

    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Figure:
    """A chart with its table. ``chart`` is None where there is nothing to draw, and ``note`` then says why.

    ``legend`` holds names of the palette with what they stand for.
    """

    id: str
    title: str
    note: str
    table: Table
    chart: Callable[[int], Chart] | None = None
    legend: list[tuple[str, str]] = field(default_factory=list)


def ranking_of(results: Results, endpoint: str) -> Figure:
    """Draw the answer: the entrants by rank, at the fewest connections of the plan."""
    column = columns(results, endpoint)[0]
    ranked = ranking(results, column)
    rows, table = [], Table(["rank", "stack", "right replies/s", "95 % interval", "ties with"], [])
    by_label = {entrant["label"]: entrant for entrant in entrants(results)}
    for place in ranked["rows"]:
        found = _found(results, place["entrant"], column)
        row = _rate_row(results, by_label[place["entrant"]], column, found)
        rank = f"{place['rank']}{'=' if place['ties_with'] else ''}"
        rows.append(row | {"entrant": f"{rank}  {place['entrant']}"})
        ties = ", ".join(place["ties_with"]) or "none"
        table.rows.append([rank, place["entrant"], per_s(found), interval(found), ties])
    return Figure(
        f"ranking-{endpoint}",
        f"{_capital(DOCUMENTS[endpoint])}: who answers most",
        f"{_capital(in_words(column))}. = is a tie, ≥ a lower bound: the load generator or the database was the limit, not the stack. "
        f"Lines are 95 % intervals{_of_2014(rows)}",
        table,
        _drawn(charts.rates, rows),
        _models(rows) + _grey(rows),
    )


def successes(results: Results, endpoint: str) -> Figure:
    """Draw right replies a second by stack and connections."""
    rows, table = [], Table(["stack", "connections", "right replies/s", "95 % interval", "2014"], [])
    for entrant, column, _ in _measured(results, endpoint):
        found = _found(results, entrant["label"], column)
        row = _rate_row(results, entrant, column, found)
        rows.append(row)
        table.rows.append(
            [entrant["label"], f"{column['connections']:,}", per_s(found), interval(found), _number(row["article_per_s"])]
        )
    return Figure(
        f"successes-{endpoint}",
        f"{_capital(DOCUMENTS[endpoint])}: requests that succeeded",
        f"{_shades(rows)}{_of_2014(rows)}",
        table,
        _drawn(charts.rates, rows),
        _models(rows) + _grey(rows),
    )


def failures(results: Results, endpoint: str) -> Figure:
    """Draw failed requests by stack, connections and class."""
    rows, closed_in_all, asked_in_all = [], 0, 0
    kinds = charts.FAILURES
    table = Table(["stack", "connections", "requests", *(words for _, words in kinds.values()), "closed after a reply (no failure)"], [])
    for entrant, column, found in _measured(results, endpoint):
        counts, asked = failed_by_class(found), requests(found)
        closed = sum(cell["outcomes"]["closed_after_reply"] for cell in found)
        closed_in_all, asked_in_all = closed_in_all + closed, asked_in_all + asked
        for kind in kinds:
            count = counts.get(kind, 0)
            percent = 100 * count / asked if asked else 0
            says = f"{_named(entrant, column)}: {count:,} of {asked:,} requests, {percent:.3g} %, {kinds[kind][1]}"
            rows.append(_row(entrant, column) | {"kind": kind, "percent": percent, "says": says})
        table.rows.append(
            [entrant["label"], f"{column['connections']:,}", f"{asked:,}", *(f"{counts.get(kind, 0):,}" for kind in kinds), f"{closed:,}"]
        )
    failed = {row["kind"] for row in rows if row["percent"]}
    note = f"Share of all requests of all rounds. {_shades_none(rows)}" if failed else f"None of {asked_in_all:,} requests failed."
    if closed_in_all:
        note += f" {closed_in_all:,} connections were closed after a complete reply, which is no failure."
    return Figure(
        f"failures-{endpoint}",
        f"{_capital(DOCUMENTS[endpoint])}: requests that failed",
        note,
        table,
        _drawn(charts.failures, rows) if failed else None,
        [kinds[kind] for kind in kinds if kind in failed],
    )


def latency(results: Results, endpoint: str) -> Figure:
    """Draw the latency distribution of each stack as a span."""
    points = {"p0": 0.0, "p10": 0.1, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
    rows, table = [], Table(["stack", "connections", "unloaded p50 ms", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"], [])
    for entrant, column, found in _measured(results, endpoint):
        known = {name: typical(found, partial(quantile_ms, fraction=at)) for name, at in points.items()}
        alone = typical(found, lambda cell: cell["unloaded_ms"]["p50"] if cell["unloaded_ms"] else None)
        percentiles = [known[name] for name in ("p50", "p90", "p99", "p999", "max")]
        table.rows.append([entrant["label"], f"{column['connections']:,}", _ms(alone), *map(_ms, percentiles)])
        if None in known.values():
            continue
        old = _in_2014(results, entrant, column)
        said = ", ".join(f"{name} {_ms(value)} ms" for name, value in zip(("p50", "p90", "p99", "p99.9", "max"), percentiles, strict=True))
        rows.append(
            _row(entrant, column)
            | known
            | {"says": f"{_named(entrant, column)}: {said}"}
            | {
                "article_ms": old["latency_mean_ms"] if old else None,
                "article_says": f"2014, {article.name(old)}: mean {old['latency_mean_ms']:,.0f} ms, max {old['latency_max_ms']:,.0f} ms" if old else "",
            }
        )
    old_mark = " Grey: the mean of 2014, which printed no percentiles." if any(row["article_ms"] for row in rows) else ""
    return Figure(
        f"latency-{endpoint}",
        f"{_capital(DOCUMENTS[endpoint])}: how long a reply takes under load",
        "Half of the replies lie in the dark band, 80 % in the pale one; the bar in it is the median. Dot: p99, ring: p99.9, end: the slowest. "
        f"With so many connections a reply mostly waits for the replies before it; the table has the latency of a single client.{old_mark}",
        table,
        _drawn(charts.latency_spans, rows),
        _models(rows) + ([("article", "2014")] if old_mark else []),
    )


def curves(results: Results) -> Figure:
    """Draw the whole latency distribution of each stack, both documents."""
    rows, table = [], Table(["stack", "document", *(f"p{name}" for name in ("50", "75", "90", "95", "99", "99.5", "99.9"))], [])
    for endpoint in measured_endpoints(results):
        first = columns(results, endpoint)[0]
        for entrant, column, found in _measured(results, endpoint):
            if column != first:
                continue
            fractions = [at for at, _ in found[0]["latency_ms"]["quantiles"] if at < 1]
            for fraction in fractions:
                ms = typical(found, partial(quantile_ms, fraction=fraction))
                if ms:
                    rows.append(_row(entrant, column) | {"endpoint": endpoint, "fraction": fraction, "ms": ms})
            shown = [typical(found, partial(quantile_ms, fraction=at)) for at in (0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999)]
            table.rows.append([entrant["label"], DOCUMENTS[endpoint], *map(_ms, shown)])
    return Figure(
        "latency-curves",
        "The whole distribution",
        "Across: percent of the replies, each further nine as wide as the last. Up: the milliseconds that they took at most. "
        f"Flat is even; a line that turns up late has a long tail. {_capital(_at_fewest(results))}.",
        table,
        _drawn(charts.latency_curves, sorted(rows, key=lambda row: _order(results).index(row["entrant"]))),
        [charts.ENDPOINTS[endpoint] for endpoint in measured_endpoints(results)],
    )


def ramp(results: Results) -> Figure:
    """Draw how long it took until each of the connections, opened at once, had its first reply."""
    rows, table = [], Table(["stack", "connections", "all answered after ms", "median ms", "answered"], [])
    for entrant, column, found in _measured(results, measured_endpoints(results)[0]):
        everyone = typical(found, lambda cell: cell["ramp"]["all_answered_ms"])
        middle = typical(found, lambda cell: cell["ramp"]["median_ms"])
        least = min(cell["ramp"]["answered"] for cell in found)
        table.rows.append(
            [entrant["label"], f"{column['connections']:,}", _ms(everyone), _ms(middle), f"{least:,} of {column['connections']:,}"]
        )
        text = f"{_ms(everyone)} ms" if everyone is not None else f"only {least:,} answered"
        amount = everyone if everyone is not None else 0
        rows.append(_row(entrant, column) | {"amount": amount, "text": text, "says": f"{_named(entrant, column)}: {text}"})
    return Figure(
        "ramp",
        "The ramp: everybody arrives at once",
        f"Until each connection has had its first reply. It is kept out of all other figures. {_shades(rows)}.",
        table,
        _drawn(charts.amounts, rows, title="ms until all are answered"),
        _models(rows),
    )


def fairness(results: Results) -> Figure:
    """Draw how evenly the connections were served, each stack's median being 1."""
    rows, table = [], Table(["stack", "connections", "least", "median", "most", "Jain's index", "longest gap ms", "never answered"], [])
    for entrant, column, found in _measured(results, measured_endpoints(results)[0]):
        seen = [cell["fairness"] for cell in found if cell["fairness"]]
        if not seen:
            continue
        spread = {name: typical(seen, lambda fair, name=name: fair["replies"][name]) or 0.0 for name in ("least", "p10", "median", "p90", "most")}  # type: ignore[misc]
        index = typical(seen, lambda fair: fair["jain"]) or 0.0
        gap_ms, alone = max(fair["longest_gap_ms"] for fair in seen), max(fair["unanswered"] for fair in seen)
        table.rows.append(
            [entrant["label"], f"{column['connections']:,}", *(f"{spread[name]:,.0f}" for name in ("least", "median", "most"))]
            + [f"{index:.2f}", f"{gap_ms:,.0f}", f"{alone:,}"]
        )
        share = {name: value / spread["median"] if spread["median"] else 0.0 for name, value in spread.items()}
        says = f"{_named(entrant, column)}: least {spread['least']:.0f}, median {spread['median']:.0f}, most {spread['most']:.0f} replies"
        rows.append(_row(entrant, column) | share | {"text": f"Jain {index:.2f}", "says": says})
    return Figure(
        "fairness",
        "Fairness: is everybody served alike?",
        "Replies of a connection against the stack's own median connection, which is 1: from the least to the most served, thick for the middle 80 %. "
        "Jain's index is 1 when all get the same. The longest silence of any connection is in the table."
        if rows
        else "Not measured in this plan.",
        table,
        _drawn(charts.spans, rows, title="replies of a connection / median connection", scale="sqrt"),
        _models(rows),
    )


def processor_time(results: Results, endpoint: str) -> Figure:
    """Draw CPU milliseconds for each request: server, database, load generator."""
    rows, table = [], Table(["stack", "connections", "server ms", "of it user", "of it system", "database ms", "load ms", "server cores"], [])
    first = columns(results, endpoint)[0]
    for entrant, column, found in _measured(results, endpoint):
        spent = {part: typical(found, partial(_cost, part=part, figure="cpu_ms_per_request")) for part in charts.PARTS}
        split = [typical(found, partial(_cost, part="server", figure=figure)) for figure in ("user_ms_per_request", "system_ms_per_request", "cores")]
        table.rows.append(
            [entrant["label"], f"{column['connections']:,}", _ms(spent["server"]), _ms(split[0]), _ms(split[1])]
            + [_ms(spent["database"]), _ms(spent["load"]), _ms(split[2])]
        )
        if column != first:
            continue
        for part, ms in spent.items():
            says = f"{_named(entrant, column)}: {charts.PARTS[part]} {_ms(ms)} ms"
            rows.append(_row(entrant, column) | {"part": part, "ms": ms or 0, "says": says})
    return Figure(
        f"processor-{endpoint}",
        f"{_capital(DOCUMENTS[endpoint])}: CPU for each request",
        f"Of all processes of the server, of mongod, and of wrk. {_capital(in_words(first))}.",
        table,
        _drawn(charts.processor_time, rows),
        [(part, words) for part, words in charts.PARTS.items()],
    )


def memory(results: Results) -> Figure:
    """Draw the server's peak memory by connections."""
    rows, table = [], Table(["stack", "connections", "peak MB", "mean MB", "processes", "start to first answer s"], [])
    for entrant, column, found in _measured(results, measured_endpoints(results)[0]):
        peak = typical(found, partial(_cost, part="server", figure="pss_peak_bytes"))
        mean = typical(found, partial(_cost, part="server", figure="pss_mean_bytes"))
        processes = typical(found, partial(_cost, part="server", figure="processes"))
        starts = [start for start in results["starts"] if start["entrant"] == entrant["label"]]
        ready_s = typical(starts, lambda start: start["ready_s"])
        table.rows.append(
            [entrant["label"], f"{column['connections']:,}", _megabytes(peak), _megabytes(mean), _number(processes), _ms(ready_s)]
        )
        if peak is not None:
            text = f"{_megabytes(peak)} MB"
            rows.append(_row(entrant, column) | {"amount": peak / MEGABYTE, "text": text, "says": f"{_named(entrant, column)}: {text}"})
    return Figure(
        "memory",
        "Memory by connections",
        f"Peak of all the server's processes, shared pages counted once (PSS). {_shades(rows)}.",
        table,
        _drawn(charts.amounts, rows, title="MB"),
        _models(rows),
    )


def threads(results: Results) -> Figure:
    """Draw how many threads the server had."""
    rows, table = [], Table(["stack", "connections", "threads", "threads for each connection"], [])
    for entrant, column, found in _measured(results, measured_endpoints(results)[0]):
        count = typical(found, partial(_cost, part="server", figure="threads")) or 0
        each = count / column["connections"]
        table.rows.append([entrant["label"], f"{column['connections']:,}", _number(count), f"{each:.2f}"])
        rows.append(_row(entrant, column) | {"amount": count, "text": f"{count:,.0f}", "says": f"{_named(entrant, column)}: {count:,.0f} threads"})
    return Figure(
        "threads",
        "Threads",
        f"Of all the server's processes. {_shades(rows)}.",
        table,
        _drawn(charts.amounts, rows, title="threads"),
        _models(rows),
    )


def switches(results: Results) -> Figure:
    """Draw context switches for each request."""
    rows, table = [], Table(["stack", "connections", "voluntary for each request", "involuntary for each request"], [])
    first = columns(results, measured_endpoints(results)[0])[0]
    for entrant, column, found in _measured(results, measured_endpoints(results)[0]):
        amounts = {kind: typical(found, partial(_switches, kind=kind)) for kind in ("voluntary", "involuntary")}
        table.rows.append([entrant["label"], f"{column['connections']:,}", *map(_ms, amounts.values())])
        if column != first:
            continue
        for kind, amount in amounts.items():
            says = f"{_named(entrant, column)}: {_ms(amount)} {kind} for each request"
            rows.append(_row(entrant, column) | {"kind": kind, "amount": amount or 0, "says": says})
    return Figure(
        "switches",
        "Context switches",
        f"For each request: dark where a thread gave the processor up to wait, pale where it was taken away. {_capital(in_words(first))}.",
        table,
        _drawn(charts.switches, rows),
        _models(rows),
    )


def slow_database(results: Results) -> Figure:
    """Draw throughput against injected latency, with the ceiling of each stack."""
    chosen = delayed_columns(results)
    rows, ceilings = [], []
    table = Table(["stack", "latency added ms", "right replies/s", "ceiling/s", "of the ceiling", "what limited it"], [])
    for entrant in _ordered(results):
        for column in chosen:
            found = group(results, entrant["label"], column)
            if not found or not found["ok_per_s"]:
                continue
            rate, added_ms = found["ok_per_s"]["median"], column["db_latency_ms"]
            most = _slots(results, entrant, column) * 1000 / added_ms if added_ms else None
            rows.append(_row(entrant, column) | {"latency_ms": added_ms, "per_s": rate, "says": f"{_named(entrant, column)}: {rate:,.0f} a second"})
            share = f"{rate / most:.0%}" if most else "–"
            table.rows.append([entrant["label"], f"{added_ms}", per_s(found), _number(most), share, ", ".join(found["bottlenecks"])])
    # Room above what was measured, so that a ceiling that is out of reach is seen to be so.
    highest = max((row["per_s"] for row in rows), default=0) * _HEADROOM
    latest = max((row["latency_ms"] for row in rows), default=0)
    for entrant in _ordered(results):
        if latest and any(row["entrant"] == entrant["label"] for row in rows):
            slots = _slots(results, entrant, chosen[-1])
            for step in range(_CEILING_POINTS + 1):
                # Where the ceiling is above all that was measured it is out of the picture.
                at_ms = min(slots * 1000 / highest, latest) if not step else latest * step / _CEILING_POINTS
                if at_ms >= min(slots * 1000 / highest, latest):
                    ceilings.append({"entrant": entrant["label"], "latency_ms": at_ms, "per_s": slots * 1000 / at_ms})
    if not rows:
        note = "Not measured: this plan added no latency. Add DB_LATENCY_MS=\"0 20 100\" to the command to see who can wait."
    else:
        note = (
            f"Across: milliseconds added to each find inside mongod. Up: right replies a second. Dashed: what Little's law allows, "
            f"slots / latency, the slots being the finds that a stack can have under way at once, and never more than the "
            f"{chosen[0]['connections']:,} connections. {_capital(DOCUMENTS[chosen[0]['endpoint']])}."
        )
    return Figure("slow-database", "When the database is slow", note, table, _drawn(charts.slow_database, rows, ceilings=ceilings), _models(rows))


def in_2014(document: str) -> Figure:
    """Draw the article's requests as they truly ended."""
    rows, table = [], Table(["stack", "connections", "called in 2014", "requests/s", "mean ms", "max ms", "drawn as failed", "what was wrong with it"], [])
    for run in article.runs(document):
        ended = article.ends(run)
        for place, (kind, count) in enumerate(ended.items()):
            says = f"{article.name(run)}, {run['connections']:,} connections: {count:,} {charts.IN_2014[kind][1]}"
            rows.append({"entrant": article.name(run), "connections": run["connections"], "kind": kind, "place": place, "requests": count, "says": says})
        drawn = run["errors"]["read"] + run["errors"]["timeout"] + run["non_2xx_3xx"]
        table.rows.append(
            [article.name(run), f"{run['connections']:,}", run["article_name"], _number(run["requests_per_s"]), _number(run["latency_mean_ms"]), _number(run["latency_max_ms"])]
            + [f"{drawn:,}", " ".join(article.what_was_wrong(run))]
        )
    return Figure(
        f"in-2014-{document}",
        f"2014, {document} document: what was drawn as failed",
        "The article's own runs, on other machines: compare the colours, not the lengths. From top to bottom in each stack: 200, 1,000 and 5,000 connections.",
        table,
        _drawn(charts.in_2014, rows),
        list(charts.IN_2014.values()),
    )


def _measured(results: Results, endpoint: str) -> Iterator[tuple[Entrant, Column, list[Cell]]]:
    for entrant in _ordered(results):
        for column in columns(results, endpoint):
            found = cells(results, entrant["label"], column)
            if found:
                yield entrant, column, found


def _ordered(results: Results) -> list[Entrant]:
    order = _order(results)
    return sorted(entrants(results), key=lambda entrant: order.index(entrant["label"]))


def _order(results: Results) -> list[str]:
    """Return the labels as ranked in the first column, so that a stack keeps its place from chart to chart."""
    ranked = [row["entrant"] for endpoint in measured_endpoints(results)[:1] for row in ranking(results, columns(results, endpoint)[0])["rows"]]
    return list(dict.fromkeys([*ranked, *(entrant["label"] for entrant in entrants(results))]))


def _row(entrant: Entrant, column: Column) -> Row:
    return {"entrant": entrant["label"], "model": entrant["model"], "connections": column["connections"]}


def _rate_row(results: Results, entrant: Entrant, column: Column, found: dict[str, Any]) -> Row:
    rate, old = found["ok_per_s"], _in_2014(results, entrant, column)
    article_per_s = article.right_per_s(old) if old else None
    return _row(entrant, column) | {
        "per_s": rate["median"],
        "low": rate["low"],
        "high": rate["high"],
        "text": per_s(found),
        "says": f"{_named(entrant, column)}: {per_s(found)} right replies a second ({interval(found)})",
        "article_per_s": article_per_s,
        "article_says": f"2014, {article.name(old)}: {article_per_s:,.0f} a second on other machines" if old else "",
    }


def _in_2014(results: Results, entrant: Entrant, column: Column) -> article.Run | None:
    if column["db_latency_ms"]:
        return None
    workers = entrant["settings"].get("WEB_CONCURRENCY")
    many = bool(workers and int(workers) > results["environment"]["cpus_usable"])
    return article.counterpart(entrant["stack"], column["endpoint"], column["connections"], many)


def _found(results: Results, label: str, column: Column) -> dict[str, Any]:
    found = group(results, label, column)
    assert found, "what was measured is in a group"
    return found


def _slots(results: Results, entrant: Entrant, column: Column) -> int:
    known = [cell["ceiling"]["slots"] for cell in cells(results, entrant["label"], column) if cell["ceiling"]]
    return min(known[0] if known else entrant["slots"] or column["connections"], column["connections"])


def _cost(cell: Cell, part: str, figure: str) -> float | None:
    spent = cell["cost"][part]
    return spent[figure] if spent else None


def _switches(cell: Cell, kind: str) -> float | None:
    replies = sum(cell["rate"]["windows_ok"])
    return cell["cost"]["server"][f"{kind}_switches"] / replies if replies else None


def _drawn(chart: Callable[..., Chart], rows: list[Row], **how: Any) -> Callable[[int], Chart] | None:
    return (lambda width: chart(rows, width=width, **how)) if rows else None


def _models(rows: Iterable[Row]) -> list[tuple[str, str]]:
    words = {"processes": "a process for each request", "threads": "threads", "events": "an event loop"}
    there = {row["model"] for row in rows}
    return [(model, words[model]) for model in charts.MODELS if model in there]


def _grey(rows: list[Row]) -> list[tuple[str, str]]:
    return [("article", "2014, other machines")] if any(row["article_per_s"] for row in rows) else []


def _of_2014(rows: list[Row]) -> str:
    return "; grey is the article of 2014, on other machines." if any(row["article_per_s"] for row in rows) else "."


def _shades(rows: list[Row]) -> str:
    several = sorted({row["connections"] for row in rows})
    if len(several) < 2:
        return f"{several[0]:,} connections" if several else ""
    return f"From dark to pale, top to bottom: {', '.join(f'{count:,}' for count in several)} connections"


def _shades_none(rows: list[Row]) -> str:
    return _shades(rows).replace("From dark to pale, top to bottom", "From top to bottom") + "."


def _at_fewest(results: Results) -> str:
    return f"{columns(results, measured_endpoints(results)[0])[0]['connections']:,} connections"


def _named(entrant: Entrant, column: Column) -> str:
    return f"{entrant['label']}, {in_words(column)}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _megabytes(value: float | None) -> str:
    return _number(None if value is None else value / MEGABYTE)
