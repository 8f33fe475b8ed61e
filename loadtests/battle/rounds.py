"""``make battle``: every entrant in every column, round by round, and nothing lost when it is stopped."""

import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from loadtests.battle.cell import Bench, measure_cell
from loadtests.battle.plan import LATER_WARM_UP_S, Plan
from loadtests.judge.doubts import doubts
from loadtests.judge.summary import summarise
from loadtests.machines.leftovers import Run
from loadtests.machines.link import ConnectionLost
from loadtests.machines.local import Machine
from loadtests.measure.database import Database, DatabaseGone
from loadtests.measure.wrk import OWN_TROUBLE, WrkFailed, out_of
from loadtests.results import file as results_file
from loadtests.results.battle import Entrant, Environment, Failure, Fault, Results, Skipped, Start
from loadtests.results.cell import Cell, Column
from loadtests.stacks.bodies import WrongReply
from loadtests.stacks.room import killed_for_memory
from loadtests.stacks.server import Server, StackFailed
from shared import mongod
from shared.said import without_secrets
from shared.system_packages import Unavailable


class Watcher:
    """Told what happens while a battle runs. The terminal is one; a test may be another."""

    def stage(self, entrant: Entrant, round_number: int, what: str) -> None: ...

    def measured(self, cell: Cell) -> None: ...

    def given_up(self, entrant: Entrant, why: str) -> None: ...

    def round_over(self, round_number: int) -> None: ...


@dataclass
class Battle:
    """A plan under way. ``results`` is whole on disk after every cell."""

    plan: Plan
    results: Results
    folder: Path
    database: Database
    own_mongod: bool
    run: Run
    watcher: Watcher
    machine: Machine = field(default_factory=Machine)
    """What the servers run on."""

    def fight(self) -> None:
        """Measure what is missing. A stack that fails or cannot be run is noted, and the others go on.

        Raises CannotWrite when the results cannot be kept, and DatabaseGone when the database does not come back.
        """
        self._set_up()
        for round_number in range(1, self.plan.rounds + 1):
            for entrant in self.plan.order(round_number):
                for settings, columns in self.plan.starts(entrant, round_number):
                    self._start_until_measured(entrant, round_number, settings, columns)
            self.watcher.round_over(round_number)
        self.results.state = "complete"
        self.save()

    def save(self) -> None:
        self.results.summary = summarise(self.results.plan, self.results.cells)
        self.results.doubts = doubts(self.results)
        results_file.write(self.results, self.folder)

    def missing(self) -> int:
        """Return how many cells are still to be measured."""
        given_up = {entry.entrant for entry in self.results.skipped}
        return sum(
            self._is_missing(entrant, round_number, column)
            for entrant in self.plan.entrants
            if entrant.label not in given_up
            for round_number in range(1, self.plan.rounds + 1)
            for column in self.plan.columns_in(round_number)
        )

    def _set_up(self) -> None:
        """Prepare every app before anything is measured, and note what cannot be had here."""
        self.results.skipped = []
        for entrant in self.plan.entrants:
            self.watcher.stage(entrant, 1, "setting up")
            try:
                self.machine.prepare(self.plan.stacks[entrant.stack].app)
            except Unavailable as reason:
                self.results.skipped.append(Skipped(entrant=entrant.label, reason=without_secrets(str(reason))))
                self.watcher.given_up(entrant, f"skipped: {reason}")
        if not self.results.cells:
            # Only now the versions of what was set up are known.
            apps = dict.fromkeys(stack.app for stack in self.plan.stacks.values())
            self.results.environment = self.machine.describe(apps, self.database.version())
        self.save()

    def _start_until_measured(
        self, entrant: Entrant, round_number: int, settings: dict[str, str], columns: list[Column]
    ) -> None:
        left = [column for column in columns if self._is_missing(entrant, round_number, column)]
        while left and not self._is_skipped(entrant):
            try:
                self._serve(entrant, round_number, settings, left)
            except (ConnectionLost, OSError) as failure:
                # Without its machine, or without room on this one.
                self._failed(entrant, round_number, None, "bench", failure)
                return
            except StackFailed as failure:
                # Where it fails to start or to stop it would do so again.
                self._failed(entrant, round_number, None, "stack", failure)
                return

    def _serve(self, entrant: Entrant, round_number: int, settings: dict[str, str], left: list[Column]) -> None:
        """Start the entrant and measure the columns in ``left``, taking each out that is settled.

        Returns early when the server has died, or its machine was lost, so that the other columns get a fresh one.
        """
        self.watcher.stage(entrant, round_number, "starting")
        server = self.machine.server(
            self.plan.stacks[entrant.stack],
            self.database.uri,
            {**settings, **self.run.environment},
            log=self.folder / f"{_file_name(entrant.label)}.log",
            cpus=self.plan.placement.server,
        )
        begun = time.monotonic()
        with server:
            ready_s = round(time.monotonic() - begun, 3)
            start = Start(entrant=entrant.label, round=round_number, settings=settings, ready_s=ready_s)
            self.results.starts.append(start)
            try:
                if not self.machine.apart:
                    self.run.started(server.session)
                warm_up_least_s = self.plan.warm_up_least_s
                while left and not self.machine.lost and server.poll() is None:
                    self._measure(entrant, round_number, left.pop(0), server, warm_up_least_s)
                    warm_up_least_s = LATER_WARM_UP_S
            except BaseException:
                # Asked to stop, or the results cannot be kept: no time to answer what the load has in flight.
                server.kill()
                raise
            # What runs on a machine that was lost is stopped there.
            if not self.machine.lost and server.poll() is not None:
                server.kill()  # a master that died may have left its workers

    def _measure(
        self, entrant: Entrant, round_number: int, column: Column, server: Server, warm_up_least_s: int
    ) -> None:
        stage = partial(self.watcher.stage, entrant, round_number)
        bench = Bench(self.plan, self.database, self.run, self.machine, stage)
        killed = killed_for_memory()
        try:
            cell = measure_cell(bench, server, entrant, round_number, column, warm_up_least_s)
            if killed_for_memory() > killed:
                raise out_of("memory")
        except (StackFailed, WrongReply, WrkFailed, DatabaseGone, ConnectionLost, OSError) as error:
            failure = out_of("memory") if killed_for_memory() > killed else self._cause(error)
            fault: Fault = "stack" if isinstance(failure, StackFailed | WrongReply) else "bench"
            self._failed(entrant, round_number, column, fault, failure)
            if isinstance(failure, DatabaseGone):
                self._bring_database_back()
                # The server was told of the old one.
                server.kill()
        else:
            self.results.cells.append(cell)
            self.save()
            self.watcher.measured(cell)
        if column.db_latency_ms and self.own_mongod:
            mongod.cut_log()

    def _cause(self, error: Exception) -> Exception:
        """Return what lies behind ``error``: no stack can answer without its machine, a database, room for clients."""
        trouble = error if isinstance(error, OSError) else error.__context__
        if isinstance(trouble, OSError) and trouble.errno in OWN_TROUBLE:
            return out_of(OWN_TROUBLE[trouble.errno])
        try:
            self.machine.require_answer()
        except ConnectionLost as lost:
            return lost
        if self.database.answers():
            return error
        return DatabaseGone("mongod ended, or stopped answering, while the cell was measured")

    def _bring_database_back(self) -> None:
        if not self.own_mongod:
            raise DatabaseGone("the MongoDB at MONGODB_URI does not answer: start it, then go on with RESUME=latest")
        try:
            server = mongod.ensure_running()
        except Unavailable as reason:
            raise DatabaseGone(str(reason)) from None
        self.database = Database(server.uri)

    def _failed(
        self, entrant: Entrant, round_number: int, column: Column | None, fault: Fault, failure: Exception
    ) -> None:
        reason, *tail = without_secrets(str(failure)).splitlines()
        self.results.failed.append(
            Failure(
                entrant=entrant.label,
                round=round_number,
                column=column,
                fault=fault,
                reason=reason,
                log_tail=[line.strip() for line in tail],
            )
        )
        self.watcher.given_up(entrant, "\n".join([f"failed: {reason}", *tail]))
        self.save()

    def _is_missing(self, entrant: Entrant, round_number: int, column: Column) -> bool:
        """Return whether this cell has neither a figure nor a failure of the stack itself."""
        key = (entrant.label, round_number, column)
        if any((cell.entrant, cell.round, cell.column) == key for cell in self.results.cells):
            return False
        return not any(
            failure.fault == "stack"
            and failure.entrant == entrant.label
            and (failure.column is None or (failure.round, failure.column) == (round_number, column))
            for failure in self.results.failed
        )

    def _is_skipped(self, entrant: Entrant) -> bool:
        return any(entry.entrant == entrant.label for entry in self.results.skipped)


def new_results(plan: Plan, environment: Environment, command: str) -> Results:
    """Return results without a cell."""
    started = results_file.now()
    return Results(
        id="",
        state="running",
        started=started,
        updated=started,
        command=command,
        environment=environment,
        plan=plan,
        summary=summarise(plan, []),
    )


def passed(results: Results) -> bool:
    """Return whether something was measured and nothing failed: neither a stack nor a request."""
    clean = all(group.failed_fraction == 0 for group in results.summary.groups)
    return bool(results.cells) and not results.failed and clean


def _file_name(label: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in label).strip("-")
