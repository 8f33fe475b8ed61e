"""What a battle says in the terminal: doubts, rankings, costs, what changed between two."""

import sys
from collections import Counter
from collections.abc import Collection, Sequence

from rich.console import Console
from rich.table import Table

from loadtests.judge.compare import METRICS, MOST_BY_OTHERS, VERDICTS, Change, floor
from loadtests.report.answers import interval
from loadtests.report.reading import cells
from loadtests.results.battle import Estimate, Ranked, Results
from loadtests.results.cell import Cell

_CLASSES = {"wrong_body": "wrong body", "refused": "refused", "reset": "reset", "timeout": "timed out"}
_MB = 1e6


def console() -> Console:
    """Return a console that shows text as it is. A pipe is as wide as the tables need."""
    return Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 150)


def show_ranking(console: Console, results: Results, verdicts: bool = True) -> None:
    """Print, for each column, the ranking with intervals and ties; then what it cost and what was the limit."""
    for ranked in results.summary.ranking:
        if ranked.rows:
            console.print(_ranking_table(ranked, results))
            if not verdicts:
                continue
            console.print(_cost_table(ranked, results))
            for row in ranked.rows:
                cell = cells(results, row.entrant, ranked.column)[-1]
                console.print(f"  {row.entrant}: {cell.verdict.text}")
            console.print()


def show_doubts(console: Console, results: Results) -> None:
    for doubt in results.doubts:
        console.print(f"! {doubt}", style="yellow")


def show_machines(console: Console, results: Results) -> None:
    """Print which machine does what, how far apart they are, and what others can reach now."""
    machines, cpus = results.machines, results.environment.cpus_usable
    assert machines, "there are several"
    database, trips = machines.database, machines.round_trip_ms
    console.print(
        f"load from {machines.client_name}, server on {machines.server_name} ({cpus} CPUs), "
        f"database on {(database and database.name) or 'a machine that it does not name'}; round trips: "
        f"load to server {trips.client_server.median} ms, "
        f"server to database {trips.server_database.median} ms",
        soft_wrap=True,
    )
    console.print(
        f"The stacks listen at {machines.listens_at}: while the battle lasts, whoever reaches that address is served.",
        style="yellow",
        soft_wrap=True,
    )


def show_state(console: Console, results: Results) -> None:
    """Print what was skipped and what failed."""
    for entry in results.skipped:
        console.print(f"{entry.entrant}: skipped: {entry.reason}")
    for failure in results.failed:
        where = f" on {failure.column}" if failure.column else ""
        text = f"{failure.entrant}{where}, round {failure.round}: {failure.reason}"
        console.print(text, style="red")


def show_comparison(console: Console, first: Results, second: Results, changes: list[Change]) -> None:
    head = ("stack", "column", "figure", "A", "B", "B / A", "95 % interval", "")
    table = _table(head, left=("stack", "column", "figure", ""), title=f"A {first.id}   B {second.id}")
    for change in sorted(changes, key=lambda change: VERDICTS.index(change.verdict)):
        low, high = change.ratio.low, change.ratio.high
        table.add_row(
            change.entrant,
            str(change.column),
            change.metric.label,
            f"{change.before:,.4g}",
            f"{change.after:,.4g}",
            f"{change.ratio.median:.2f}",
            "too few repeats" if low is None else f"{low:.2f} to {high:.2f}",
            change.verdict,
            style={"better": "green", "worse": "red"}.get(change.verdict),
        )
    console.print(table)
    floors = ", ".join(f"{metric.label} {floor(metric, first, second):.0%}" for metric in METRICS)
    counts = Counter(change.verdict for change in changes)
    console.print(
        f"{counts['better']} better, {counts['worse']} worse, {counts['neither']} neither, "
        f"{counts['too noisy']} too noisy (other programs used over {MOST_BY_OTHERS:.0%} of the machine). "
        "A change counts when the whole interval of B / A is beyond what two runs of one commit differ by here "
        f"({floors})."
    )


def _ranking_table(ranked: Ranked, results: Results) -> Table:
    groups = {group.entrant: group for group in results.summary.groups if group.column == ranked.column}
    source = (
        "two runs of one stack differed by" if ranked.noise_by == "a/a" else "no stack was run twice; noise assumed"
    )
    table = _table(
        ("", "stack", "right replies/s", "95 % interval", "p50 ms", "p99 ms", "alone ms", "failed", "limit"),
        left=("stack", "failed", "limit"),
        title=str(ranked.column),
        caption=f"= ties with another: not significant ({source} {ranked.noise:.1%}). "
        "> is a lower bound: the stack may be faster.",
    )
    for row in ranked.rows:
        group = groups[row.entrant]
        rate = group.ok_per_s
        found = cells(results, row.entrant, ranked.column)
        limits, ceiling = ", ".join(group.bottlenecks), found[-1].figures.ceiling
        table.add_row(
            f"{row.rank}{'=' if row.ties_with else ' '}",
            row.entrant,
            f"{'>' if group.lower_bound else ''}{rate.median:,.0f}",
            interval(group),
            _median(group.p50_ms),
            _median(group.p99_ms),
            _median(group.alone_ms),
            failed(found),
            f"{limits}; ceiling {ceiling.per_s:,.0f}/s" if ceiling else limits,
        )
    return table


def _cost_table(ranked: Ranked, results: Results) -> Table:
    cpu = ("server CPU ms/request", "db", "load")
    table = _table(
        ("stack", *cpu, "memory MB", "threads", "switches/request", "ramp ms", "fairness", "Jain"),
        left=("stack",),
        caption="medians of the repeats; fairness: replies of each connection, least / median / most",
    )
    for row in ranked.rows:
        last = cells(results, row.entrant, ranked.column)[-1]
        cost, fair = last.figures.cost, last.figures.fairness
        server, database, used = cost.server, cost.database, last.counts.server
        requests = sum(last.counts.wrk.windows_ok)
        table.add_row(
            row.entrant,
            _or_dash(server.cpu_ms_per_request, ".3f"),
            _or_dash(database.cpu_ms_per_request if database else None, ".3f"),
            _or_dash(cost.load.cpu_ms_per_request, ".3f"),
            _or_dash(server.pss_peak_bytes / _MB if server.pss_peak_bytes else None, ",.0f"),
            f"{used.threads}",
            f"{(used.voluntary_switches + used.involuntary_switches) / requests:.1f}" if requests else "-",
            _or_dash(last.figures.ramp.all_answered_ms, ",.0f"),
            f"{fair.replies.least:.0f} / {fair.replies.median:.0f} / {fair.replies.most:.0f}" if fair else "-",
            f"{fair.jain:.2f}" if fair else "-",
        )
    return table


def _table(head: Sequence[str], left: Collection[str], **around: str) -> Table:
    table = Table(title_justify="left", caption_justify="left", **around)  # type: ignore[arg-type]
    for name in head:
        table.add_column(name, justify="left" if name in left else "right")
    return table


def failed(found: list[Cell]) -> str:
    """Return the failed requests by class in words, and the closes that are no failure."""
    by_class = Counter[str]()
    for cell in found:
        by_class.update(cell.figures.outcomes.failures)
    text = (
        ", ".join(f"{count:,} {_CLASSES.get(name, f'status {name}')}" for name, count in by_class.items()) or "0 failed"
    )
    closed = sum(cell.figures.outcomes.closed_after_reply for cell in found)
    return f"{text} ({closed:,} closed after a complete reply)" if closed else text


def _median(estimate: Estimate | None) -> str:
    return _or_dash(estimate.median if estimate else None, ",.1f")


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
