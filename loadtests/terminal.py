"""A battle in the terminal: what runs now, what is left, and the table at the end."""

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from loadtests.battle import Cell, Plan, Results, Watcher
from loadtests.bodies import PATHS
from loadtests.stacks import Stack

_NAMES = {
    "connect": "not connected",
    "reset": "reset",
    "timeout": "timed out",
    "status_4xx": "4xx",
    "status_5xx": "5xx",
}


class Terminal(Watcher):
    """Shows a battle. Where the output is no terminal, a plain line for each cell takes the place of the bar."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._console = console
        self._cells_of_a_stack = len(plan.endpoints)
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(), console=console,
        )  # fmt: skip
        self._task = self._progress.add_task("", total=len(plan.stacks) * len(plan.endpoints))
        self.live = Live(self._progress, console=console, transient=True)

    def stage(self, stack: Stack, what: str) -> None:
        self._progress.update(self._task, description=f"[bold]{stack.name}[/] {what}")

    def measured(self, cell: Cell) -> None:
        self._progress.advance(self._task)
        self._console.print(
            f"{cell.stack:<17} {PATHS[cell.endpoint]:<11} {cell.requests_per_s:>9,.0f} requests/s   "
            f"p50 {cell.latency_ms['p50']:,.1f} ms   p99 {cell.latency_ms['p99']:,.1f} ms   {failures(cell)}",
            highlight=False,
            soft_wrap=True,
        )

    def given_up(self, stack: Stack, why: str) -> None:
        self._progress.advance(self._task, self._cells_of_a_stack)
        self._console.print(f"{stack.name:<17} {why}", style="red", markup=False, highlight=False, soft_wrap=True)


def failures(cell: Cell) -> str:
    """Return the failed requests of a cell, by how they failed, in words."""
    failed = [f"{count:,} {_NAMES[kind]}" for kind, count in cell.failed.items() if count]
    closed = f" ({cell.closed_after_reply:,} closed after a complete reply)" if cell.closed_after_reply else ""
    return (", ".join(failed) or "0 failed") + closed


def table(results: Results) -> Table:
    """Return the ranking: fastest first for each endpoint."""
    load = results.plan
    shown = Table(title=f"{load['connections']} connections, {load['duration_s']} s each, one run: an order, not a verdict")
    shown.add_column("endpoint")
    shown.add_column("stack")
    for name in ("requests/s", "p50 ms", "p99 ms", "succeeded"):
        shown.add_column(name, justify="right")
    shown.add_column("failed")
    for endpoint in load["endpoints"]:
        cells = [cell for cell in results.cells if cell.endpoint == endpoint]
        for cell in sorted(cells, key=lambda cell: -cell.requests_per_s):
            shown.add_row(
                PATHS[endpoint],
                cell.stack,
                f"{cell.requests_per_s:,.0f}",
                f"{cell.latency_ms['p50']:,.1f}",
                f"{cell.latency_ms['p99']:,.1f}",
                f"{cell.succeeded:,}",
                failures(cell),
            )
        shown.add_section()
    return shown
