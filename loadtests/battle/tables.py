"""What a battle says in the terminal: doubts, rankings, costs, what changed between two."""

from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtests.judge.compare import METRICS, MOST_BY_OTHERS, VERDICTS, Change, floor
from loadtests.results.battle import Estimate, Machines, Ranked, Results
from loadtests.results.cell import Cell, Column

_CLASSES = {"wrong_body": "wrong body", "refused": "refused", "reset": "reset", "timeout": "timed out"}
_MB = 1e6


def show_ranking(console: Console, results: Results, verdicts: bool = True) -> None:
    """Print, for each column, the ranking with intervals and ties; then what it cost and what was the limit."""
    for ranked in results.summary.ranking:
        if ranked.rows:
            console.print(_ranking_table(ranked, results))
            if not verdicts:
                continue
            console.print(_cost_table(ranked, results))
            for row in ranked.rows:
                cell = _cells(results, row.entrant, ranked.column)[-1]
                console.print(f"  {row.entrant}: {cell.verdict.text}", highlight=False, markup=False)
            console.print()


def show_doubts(console: Console, results: Results) -> None:
    for doubt in results.doubts:
        console.print(f"! {doubt}", style="yellow", highlight=False, markup=False)


def show_machines(console: Console, machines: Machines) -> None:
    """Print which machine does what, how far apart they are, and what others can reach now."""
    server, database, trips = machines.server, machines.database, machines.round_trip_ms
    console.print(
        f"load from {machines.client.name}, server on {server.name} ({server.cpus_usable} CPUs), "
        f"database on {(database and database.name) or 'a machine that it does not name'}; round trips: "
        f"load to server {trips.client_server.median} ms, "
        f"server to database {trips.server_database.median} ms",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"The stacks listen at {server.listens_at}: while the battle lasts, whoever reaches that address is served.",
        style="yellow",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def show_state(console: Console, results: Results) -> None:
    """Print what was skipped and what failed."""
    for entry in results.skipped:
        console.print(f"{entry.entrant}: skipped: {entry.reason}", markup=False, highlight=False)
    for failure in results.failed:
        where = f" on {failure.column}" if failure.column else ""
        text = f"{failure.entrant}{where}, round {failure.round}: {failure.reason}"
        console.print(text, style="red", markup=False, highlight=False)


def show_comparison(console: Console, first: Results, second: Results, changes: list[Change]) -> None:
    table = Table(title=f"A {first.id}   B {second.id}", title_justify="left")
    for name in ("stack", "column", "figure", "A", "B", "B / A", "95 % interval", ""):
        table.add_column(name, justify="left" if name in ("stack", "column", "figure", "") else "right")
    for change in sorted(changes, key=lambda change: VERDICTS.index(change.verdict)):
        interval = "too few repeats"
        if change.ratio.low is not None and change.ratio.high is not None:
            interval = f"{change.ratio.low:.2f} to {change.ratio.high:.2f}"
        table.add_row(
            Text(change.entrant),
            str(change.column),
            change.metric.label,
            f"{change.before:,.4g}",
            f"{change.after:,.4g}",
            f"{change.ratio.median:.2f}",
            interval,
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
        f"({floors}).",
        highlight=False,
    )


def _ranking_table(ranked: Ranked, results: Results) -> Table:
    groups = {group.entrant: group for group in results.summary.groups if group.column == ranked.column}
    source = (
        "two runs of one stack differed by" if ranked.noise_by == "a/a" else "no stack was run twice; noise assumed"
    )
    table = Table(
        title=str(ranked.column),
        caption=f"= ties with another: not significant ({source} {ranked.noise:.1%}). "
        "> is a lower bound: the stack may be faster.",
        caption_justify="left",
        title_justify="left",
    )
    for name, justify in (
        ("", "right"),
        ("stack", "left"),
        ("right replies/s", "right"),
        ("95 % interval", "right"),
        ("p50 ms", "right"),
        ("p99 ms", "right"),
        ("alone ms", "right"),
        ("failed", "left"),
        ("limit", "left"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in ranked.rows:
        group = groups[row.entrant]
        rate = group.ok_per_s
        interval = "one repeat" if rate.low is None else f"{rate.low:,.0f} to {rate.high:,.0f}"
        cells = _cells(results, row.entrant, ranked.column)
        limits, ceiling = ", ".join(group.bottlenecks), cells[-1].figures.ceiling
        table.add_row(
            f"{row.rank}{'=' if row.ties_with else ' '}",
            Text(row.entrant),
            f"{'>' if group.lower_bound else ''}{rate.median:,.0f}",
            interval,
            _median(group.p50_ms),
            _median(group.p99_ms),
            _median(group.alone_ms),
            Text(failed(cells)),
            f"{limits}; ceiling {ceiling.per_s:,.0f}/s" if ceiling else limits,
        )
    return table


def _cost_table(ranked: Ranked, results: Results) -> Table:
    table = Table(
        caption="medians of the repeats; fairness: replies of each connection, least / median / most",
        caption_justify="left",
    )
    for name in (
        "stack",
        "server CPU ms/request",
        "db",
        "load",
        "memory MB",
        "threads",
        "switches/request",
        "ramp ms",
        "fairness",
        "Jain",
    ):
        table.add_column(name, justify="left" if name == "stack" else "right")
    for row in ranked.rows:
        last = _cells(results, row.entrant, ranked.column)[-1]
        cost, fair = last.figures.cost, last.figures.fairness
        server, database, used = cost.server, cost.database, last.counts.server
        requests = sum(last.counts.wrk.windows_ok)
        table.add_row(
            Text(row.entrant),
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


def failed(cells: list[Cell]) -> str:
    """Return the failed requests by class in words, and the closes that are no failure."""
    by_class = Counter[str]()
    for cell in cells:
        by_class.update(cell.figures.outcomes.failures)
    text = (
        ", ".join(f"{count:,} {_CLASSES.get(name, f'status {name}')}" for name, count in by_class.items()) or "0 failed"
    )
    closed = sum(cell.figures.outcomes.closed_after_reply for cell in cells)
    return f"{text} ({closed:,} closed after a complete reply)" if closed else text


def _cells(results: Results, entrant: str, column: Column) -> list[Cell]:
    return [cell for cell in results.cells if (cell.entrant, cell.column) == (entrant, column)]


def _median(estimate: Estimate | None) -> str:
    return _or_dash(estimate.median if estimate else None, ",.1f")


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
