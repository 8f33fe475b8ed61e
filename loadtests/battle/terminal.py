"""A battle in the terminal: what runs now, what is left, and the ranking at the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from loadtests.battle.plan import Entrant
from loadtests.battle.rounds import Battle, Watcher
from loadtests.judge.doubts import column as in_words
from loadtests.judge.figures import failures
from loadtests.results.file import Results
from loadtests.results.words import minutes

_CLASSES = {"wrong_body": "wrong body", "refused": "refused", "reset": "reset", "timeout": "timed out"}
_MB = 1e6
# Drawing costs the bench CPU while it measures.
_REFRESH_PER_S = 1


class Terminal(Watcher):
    """Shows a battle. Where the output is no terminal, a plain line for each cell takes the place of the live table."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._cells: dict[tuple[str, int], list[float]] = {}
        self._now = ""
        self._done = 0

    @contextmanager
    def watching(self, battle: Battle) -> Iterator[None]:
        """Show ``battle`` while in the block."""
        self._plan = battle.plan
        self._results = battle.results
        self._missing = battle.missing
        self._began = time.monotonic()
        for cell in battle.results["cells"]:
            self._keep(cell)
        with Live(console=self._console, get_renderable=self._shown, transient=True, refresh_per_second=_REFRESH_PER_S):
            yield

    def stage(self, entrant: Entrant, round_number: int, what: str) -> None:
        self._now = f"round {round_number} of {self._plan.rounds} · {entrant.label} · {what}"

    def measured(self, cell: dict[str, Any]) -> None:
        self._done += 1
        self._keep(cell)
        if not self._console.is_terminal:
            self._console.print(_line(cell), highlight=False, soft_wrap=True, markup=False)

    def _keep(self, cell: dict[str, Any]) -> None:
        number = next(
            number
            for number, column in enumerate(self._plan.columns)
            if all(cell[name] == getattr(column, name) for name in ("endpoint", "connections", "db_latency_ms"))
        )
        self._cells.setdefault((cell["entrant"], number), []).append(cell["rate"]["ok_per_s"])

    def given_up(self, entrant: Entrant, why: str) -> None:
        self._console.print(f"{entrant.label}: {why}", style="red", markup=False, highlight=False, soft_wrap=True)

    def round_over(self, round_number: int) -> None:
        if round_number == 1 < self._plan.rounds:
            self._console.print("After round one, a first ranking:")
            show_ranking(self._console, self._results, verdicts=False)

    def _shown(self) -> Group:
        table = Table(box=None, pad_edge=False)
        table.add_column("right replies/s so far")
        for column in self._plan.columns:
            latency = f" +{column.db_latency_ms} ms" if column.db_latency_ms else ""
            table.add_column(f"/{column.endpoint} {column.connections}{latency}", justify="right")
        for entrant in self._plan.entrants:
            rates = [self._cells.get((entrant.label, number), []) for number in range(len(self._plan.columns))]
            table.add_row(
                Text(entrant.label), *(" ".join(f"{rate:,.0f}" for rate in each[-3:]) or "·" for each in rates)
            )
        return Group(table, Text(f"{self._now} · {self._left()}", style="bold"))

    def _left(self) -> str:
        cells = self._missing()
        if not self._done:
            return f"{cells} cells left"
        seconds = cells * (time.monotonic() - self._began) / self._done
        return f"{cells} cells left, about {minutes(seconds)}"


def show_ranking(console: Console, results: Results, verdicts: bool = True) -> None:
    """Print, for each column, the ranking with intervals and ties; then what it cost and what was the limit."""
    groups = {(group["entrant"], *group["column"].values()): group for group in results["summary"]["groups"]}
    for ranked in results["summary"]["ranking"]:
        if ranked["rows"]:
            console.print(_ranking_table(ranked, groups, results))
            if not verdicts:
                continue
            console.print(_cost_table(ranked, results))
            for row in ranked["rows"]:
                cell = _cells(results, row["entrant"], ranked["column"])[-1]
                console.print(f"  {row['entrant']}: {cell['verdict']['text']}", highlight=False, markup=False)
            console.print()


def show_doubts(console: Console, results: Results) -> None:
    for warning in results["warnings"]:
        console.print(f"! {warning['text']}", style="yellow", highlight=False, markup=False)


def show_machines(console: Console, machines: dict[str, Any]) -> None:
    """Print which machine does what, how far apart they are, and what others can reach now."""
    server, database, trips = machines["server"], machines["database"], machines["round_trip_ms"]
    console.print(
        f"load from {machines['client']['name']}, server on {server['name']} ({server['cpus_usable']} CPUs), "
        f"database on {database['name'] if database else 'a machine that it does not name'}; round trips: "
        f"load to server {trips['client_server']['median']} ms, "
        f"server to database {trips['server_database']['median']} ms",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"The stacks listen at {server['listens_at']}: while the battle lasts, whoever reaches that address is served.",
        style="yellow",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def show_state(console: Console, results: Results) -> None:
    """Print what was skipped and what failed."""
    for entry in results["skipped"]:
        console.print(f"{entry['entrant']}: skipped: {entry['reason']}", markup=False, highlight=False)
    for entry in results["failed"]:
        where = f" on {in_words(entry['column'])}" if entry["column"] else ""
        text = f"{entry['entrant']}{where}, round {entry['round']}: {entry['reason']}"
        console.print(text, style="red", markup=False, highlight=False)


def _ranking_table(ranked: dict[str, Any], groups: dict[tuple[Any, ...], dict[str, Any]], results: Results) -> Table:
    noise = ranked["noise"]
    source = (
        "two runs of one stack differed by" if noise["source"] == "a/a" else "no stack was run twice; noise assumed"
    )
    table = Table(
        title=in_words(ranked["column"])[0].upper() + in_words(ranked["column"])[1:],
        caption=f"= ties with another: not significant ({source} {noise['fraction']:.1%}). "
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
    for row in ranked["rows"]:
        group = groups[row["entrant"], *ranked["column"].values()]
        rate = group["ok_per_s"]
        interval = f"{rate['low']:,.0f} to {rate['high']:,.0f}" if rate["low"] is not None else "one repeat"
        cells = _cells(results, row["entrant"], ranked["column"])
        limits = ", ".join(group["bottlenecks"])
        ceiling = cells[-1]["ceiling"]
        table.add_row(
            f"{row['rank']}{'=' if row['ties_with'] else ' '}",
            Text(row["entrant"]),
            f"{'>' if group['lower_bound'] else ''}{rate['median']:,.0f}",
            interval,
            _number(group["p50_ms"]),
            _number(group["p99_ms"]),
            _number(group["unloaded_ms"]),
            Text(_failed(cells)),
            f"{limits}; ceiling {ceiling['per_s']:,.0f}/s" if ceiling else limits,
        )
    return table


def _cost_table(ranked: dict[str, Any], results: Results) -> Table:
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
    for row in ranked["rows"]:
        cells = _cells(results, row["entrant"], ranked["column"])
        last = cells[-1]
        server, database, load = last["cost"]["server"], last["cost"]["database"], last["cost"]["load"]
        fair = last["fairness"]
        switches = server["voluntary_switches"] + server["involuntary_switches"]
        requests = sum(last["rate"]["windows_ok"])
        table.add_row(
            Text(row["entrant"]),
            _or_dash(server["cpu_ms_per_request"], ".3f"),
            _or_dash(database["cpu_ms_per_request"] if database else None, ".3f"),
            _or_dash(load["cpu_ms_per_request"], ".3f"),
            _or_dash(server["pss_peak_bytes"] / _MB if server["pss_peak_bytes"] else None, ",.0f"),
            f"{server['threads']}",
            f"{switches / requests:.1f}" if requests else "-",
            _or_dash(last["ramp"]["all_answered_ms"], ",.0f"),
            "{least:.0f} / {median:.0f} / {most:.0f}".format(**fair["replies"]) if fair else "-",
            f"{fair['jain']:.2f}" if fair else "-",
        )
    return table


def _line(cell: dict[str, Any]) -> str:
    failed = _failed([cell])
    return (
        f"{cell['round']} {cell['entrant']:<24} {in_words(cell):<34} {cell['rate']['ok_per_s']:>9,.0f} "
        f"right replies/s   p50 {cell['latency_ms']['p50']:,.1f} ms   p99 {cell['latency_ms']['p99']:,.1f} ms   "
        f"{failed}   {cell['verdict']['bottleneck']}"
    )


def _failed(cells: list[dict[str, Any]]) -> str:
    by_class: dict[str, int] = {}
    for cell in cells:
        for name, count in failures(cell["outcomes"]).items():
            by_class[name] = by_class.get(name, 0) + count
    text = (
        ", ".join(f"{count:,} {_CLASSES.get(name, f'status {name}')}" for name, count in by_class.items()) or "0 failed"
    )
    closed = sum(cell["outcomes"]["closed_after_reply"] for cell in cells)
    return f"{text} ({closed:,} closed after a complete reply)" if closed else text


def _cells(results: Results, entrant: str, column: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        cell
        for cell in results["cells"]
        if cell["entrant"] == entrant and all(cell[name] == value for name, value in column.items())
    ]


def _number(estimate: dict[str, Any] | None) -> str:
    return _or_dash(estimate["median"] if estimate else None, ",.1f")


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
