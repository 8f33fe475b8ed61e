"""Who answers most, and what fails: the ranking and the article's four charts."""

from loadtests.report import article
from loadtests.report.answers import interval, per_s
from loadtests.report.drawing import charts
from loadtests.report.reading import (
    DOCUMENTS,
    columns,
    failed_by_class,
    group_of,
    in_words,
    ranking,
    requests,
)
from loadtests.report.sections.exhibit import (
    Figure,
    Legend,
    Row,
    capital,
    drawn,
    in_2014,
    measured,
    models,
    number,
    row,
    which_lines,
)
from loadtests.results.battle import Entrant, Results
from loadtests.results.cell import Column
from loadtests.results.words import Table

_WHAT_THE_MARKS_ARE = "= is a tie; ≥ a lower bound: the load generator or the database was the limit, not the stack."


def ranking_of(results: Results, endpoint: str) -> Figure:
    """Draw the answer: the entrants by rank, at the fewest connections of the plan."""
    column = columns(results, endpoint)[0]
    by_label = {entrant.label: entrant for entrant in results.plan.contestants}
    rows, table = [], Table(["rank", "stack", "right replies/s", "95 % interval", "ties with"])
    for place in ranking(results, column).rows:
        found = group_of(results, place.entrant, column)
        rank = f"{place.rank}{'=' if place.ties_with else ''}"
        line = _rate(results, by_label[place.entrant], column)
        rows.append(line | {"entrant": f"{rank}  {place.entrant}"})
        ties = ", ".join(place.ties_with) or "none"
        table.add(rank, place.entrant, per_s(found), interval(found), ties)
    repeated = any(line["low"] is not None for line in rows)
    intervals = "Lines on the bars are 95 % intervals." if repeated else "Measured once: there are no intervals."
    note = f"{_WHAT_THE_MARKS_ARE} {intervals}" if rows else "Not measured yet."
    return Figure(
        f"ranking-{endpoint}",
        f"{capital(DOCUMENTS[endpoint])}: who answers most",
        f"{capital(in_words(column))}. {note}",
        table,
        drawn(charts.rates, rows),
        models(rows) + _grey(rows),
    )


def successes(results: Results, endpoint: str) -> Figure:
    rows, table = [], Table(["stack", "connections", "right replies/s", "95 % interval", "2014, other machines"])
    for entrant, column, _ in measured(results, endpoint):
        found = group_of(results, entrant.label, column)
        line = _rate(results, entrant, column)
        rows.append(line)
        old = number(line["article_per_s"])
        table.add(entrant.label, number(column.connections), per_s(found), interval(found), old)
    return Figure(
        f"successes-{endpoint}",
        f"{capital(DOCUMENTS[endpoint])}: requests that succeeded",
        which_lines(rows) or "Not measured yet.",
        table,
        drawn(charts.rates, rows),
        models(rows) + _grey(rows),
    )


def failures(results: Results, endpoint: str) -> Figure:
    rows, asked_in_all, closed_in_all = [], 0, 0
    classes = [words for _, words in charts.FAILURES.values()]
    table = Table(["stack", "connections", "requests", *classes, "closed after a reply (no failure)"])
    for entrant, column, found in measured(results, endpoint):
        counts, asked = failed_by_class(found), requests(found)
        closed = sum(cell.figures.outcomes.closed_after_reply for cell in found)
        asked_in_all, closed_in_all = asked_in_all + asked, closed_in_all + closed
        for kind, (_, words) in charts.FAILURES.items():
            count = counts.get(kind, 0)
            percent = 100 * count / asked if asked else 0
            says = f"{count:,} of {asked:,} requests, {percent:.3g} %, {words}"
            rows.append(row(entrant, column, kind=kind, amount=percent, says=says))
        by_class = [number(counts.get(kind, 0)) for kind in charts.FAILURES]
        table.add(entrant.label, number(column.connections), number(asked), *by_class, number(closed))
    failed = {line["kind"] for line in rows if line["amount"]}
    note = f"None of {asked_in_all:,} requests failed." if rows else "Not measured yet."
    if failed:
        note = f"Share of all requests of all rounds. {which_lines(rows, shaded=False)}"
    if closed_in_all:
        note += f" {closed_in_all:,} connections were closed after a complete reply, which is no failure."
    return Figure(
        f"failures-{endpoint}",
        f"{capital(DOCUMENTS[endpoint])}: requests that failed",
        note,
        table,
        drawn(charts.failures, rows) if failed else None,
        [legend for kind, legend in charts.FAILURES.items() if kind in failed],
    )


def _rate(results: Results, entrant: Entrant, column: Column) -> Row:
    found = group_of(results, entrant.label, column)
    rate, old = found.ok_per_s, in_2014(results, entrant, column)
    article_per_s = article.right_per_s(old) if old else None
    return row(
        entrant,
        column,
        per_s=rate.median,
        low=rate.low,
        high=rate.high,
        text=per_s(found),
        says=f"{per_s(found)} right replies a second ({interval(found)})",
        article_per_s=article_per_s,
        article_says=f"2014, {article.name(old)}: {article_per_s:,.0f} a second on other machines" if old else "",
    )


def _grey(rows: list[Row]) -> Legend:
    return [("article", "2014, other machines")] if any(line["article_per_s"] for line in rows) else []
