"""A battle in the terminal: what runs now, what is left, and the ranking at the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from loadtests.battle.rounds import Battle, Watcher
from loadtests.battle.tables import failed, show_ranking
from loadtests.results.battle import Entrant
from loadtests.results.cell import Cell
from loadtests.results.words import minutes

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
        for cell in battle.results.cells:
            self._keep(cell)
        with Live(console=self._console, get_renderable=self._shown, transient=True, refresh_per_second=_REFRESH_PER_S):
            yield

    def stage(self, entrant: Entrant, round_number: int, what: str) -> None:
        self._now = f"round {round_number} of {self._plan.rounds} · {entrant.label} · {what}"

    def measured(self, cell: Cell) -> None:
        self._done += 1
        self._keep(cell)
        if not self._console.is_terminal:
            self._console.print(_line(cell), soft_wrap=True)

    def _keep(self, cell: Cell) -> None:
        number = self._plan.columns.index(cell.column)
        self._cells.setdefault((cell.entrant, number), []).append(cell.figures.rate.ok_per_s)

    def given_up(self, entrant: Entrant, why: str) -> None:
        self._console.print(f"{entrant.label}: {why}", style="red", soft_wrap=True)

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
            table.add_row(entrant.label, *(" ".join(f"{rate:,.0f}" for rate in each[-3:]) or "·" for each in rates))
        return Group(table, Text(f"{self._now} · {self._left()}", style="bold"))

    def _left(self) -> str:
        cells = self._missing()
        if not self._done:
            return f"{cells} cells left"
        seconds = cells * (time.monotonic() - self._began) / self._done
        return f"{cells} cells left, about {minutes(seconds)}"


def _line(cell: Cell) -> str:
    figures = cell.figures
    return (
        f"{cell.round} {cell.entrant:<24} {cell.column!s:<34} {figures.rate.ok_per_s:>9,.0f} "
        f"right replies/s   p50 {figures.latency_ms.p50:,.1f} ms   p99 {figures.latency_ms.p99:,.1f} ms   "
        f"{failed([cell])}   {cell.verdict.bottleneck}"
    )
