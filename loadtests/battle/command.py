"""``make battle``, ``battle-quick``, ``battle-2014`` and ``compare``: from make variables to an exit status."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from loadtests.battle import tables
from loadtests.battle.plan import SERVER_VARIABLES, VARIABLES, Plan, plan_from_environment
from loadtests.battle.rounds import Battle, new_results, passed
from loadtests.battle.tables import show_comparison, show_doubts, show_machines, show_ranking, show_state
from loadtests.battle.terminal import Terminal
from loadtests.judge.compare import compare
from loadtests.machines import leftovers
from loadtests.machines.description import git_state
from loadtests.machines.link import ConnectionLost, Unreachable
from loadtests.machines.local import Machine
from loadtests.machines.placement import pinned_process
from loadtests.machines.remote import RemoteMachine, machine_from_environment
from loadtests.measure.database import Database, DatabaseGone
from loadtests.results import file as results_file
from loadtests.results.battle import PlanName, Results
from loadtests.results.file import CannotWrite
from loadtests.results.words import minutes
from loadtests.settings import BadSetting
from loadtests.signals import Stopped, stopped_by_signals
from loadtests.stacks.room import require_room
from shared.address import database_uri
from shared.seed import require_fixtures
from shared.system_packages import require

_INTERRUPTED = 130
_FAILED = 1
_MANY_CONNECTIONS = 1000


def battle(name: PlanName) -> int:
    """Run or resume the plan called ``name``; return 0, 1 when a stack or a request failed, 130 when stopped.

    Raises BadSetting, BadAddress, Unavailable and NotSeeded with one line.
    """
    console = tables.console()
    with ExitStack() as stack:
        machine = machine_from_environment()
        stack.callback(machine.close)
        resumed = os.environ.get("RESUME")
        folder, results, plan = (
            _resume(resumed, machine)
            if resumed
            else (None, None, plan_from_environment(name, machine.usable_cpus(), machine.apart))
        )
        most = max(column.connections for column in plan.columns)
        require_room(most, [] if plan.apart else plan.stacks.values())
        stack.enter_context(leftovers.alone(results_file.FOLDER))
        for ended in leftovers.end_leftovers(results_file.FOLDER):
            console.print(f"Ended what the last battle left running: {ended}")
        require(["wrk"])
        uri = database_uri()
        require_fixtures(uri)
        own_mongod = not os.environ.get("MONGODB_URI")
        database = stack.enter_context(Database(uri))
        if own_mongod:
            database.forget_delays()
        try:
            plan = _that_can_be_delayed(console, plan, database)
            if results is None:
                environment = machine.describe([], database.version())
                results = new_results(plan, environment, _typed(name))
                if isinstance(machine, RemoteMachine):
                    results.machines = machine.machines(database)
                    show_machines(console, results)
            if folder is None:
                folder = results_file.new_folder()
                results.id = folder.name
            _warn_of_another_commit(console, results)
            run = leftovers.Run(results_file.FOLDER)
            stack.callback(run.over)
            if not machine.apart:
                stack.enter_context(pinned_process(database.local_pid(), plan.placement.database))
            return _fight(console, Battle(plan, results, folder, database, own_mongod, run, Terminal(console), machine))
        except (CannotWrite, DatabaseGone, ConnectionLost, Unreachable) as problem:
            print(problem, file=sys.stderr)
            if folder:
                print(f"What was measured so far is kept; go on with: {_go_on(folder)}", file=sys.stderr)
            return _FAILED


def compare_two() -> int:
    """Compare the results that A and B name; return 0, 1 when a cell got worse. Raises BadSetting."""
    names = [os.environ.get(variable) for variable in ("A", "B")]
    if not all(names):
        raise BadSetting("give two results to compare: make compare A=2026-11-24T06-10-00Z B=latest")
    first, second = (results_file.read(results_file.find(name)) for name in names if name)
    compared = compare(first, second)
    if not compared:
        raise BadSetting("A and B have no cell in common: the same stack at the same endpoint, connections and latency")
    show_comparison(tables.console(), first, second, compared)
    return _FAILED if any(change.verdict == "worse" for change in compared) else 0


def report() -> int:
    """Write report.html beside the results that RESULTS names and print its path. Raises BadSetting, CannotWrite."""
    print(_write_report(results_file.find(os.environ.get("RESULTS") or "latest")))
    return 0


def example() -> int:
    """Put the report of the results that RESULTS names into docs/example/. Raises BadSetting."""
    from loadtests.report.example import FOLDER, write_example

    write_example(results_file.read(results_file.find(os.environ.get("RESULTS") or "latest")))
    print(FOLDER)
    return 0


def _write_report(folder: Path) -> Path:
    # Loading the chart library takes a second that no other command should wait for.
    from loadtests.report.page import write_report

    return write_report(folder)


def _fight(console: Console, battle: Battle) -> int:
    plan = battle.plan
    later = f", the slow database from round {plan.delayed_from_round} on" if plan.delayed_from_round > 1 else ""
    seconds = plan.estimated_s * battle.missing() / plan.cells
    console.print(
        f"{len(plan.entrants)} entrants x {len(plan.columns)} columns x {plan.rounds} rounds{later}: "
        f"{plan.cells} cells, {battle.missing()} to measure, about {minutes(seconds)} once set up",
    )
    _explain_timeout(console, plan)
    terminal = battle.watcher
    assert isinstance(terminal, Terminal)
    try:
        with stopped_by_signals(), terminal.watching(battle):
            battle.results.state = "running"
            battle.save()
            battle.fight()
    except Stopped:
        battle.results.state = "stopped"
        battle.save()
        show_doubts(console, battle.results)
        show_ranking(console, battle.results)
        console.print(
            f"Stopped; {battle.missing()} cells are missing. Go on with: {_go_on(battle.folder)}", soft_wrap=True
        )
        console.print(f"Results so far: {battle.folder}", soft_wrap=True)
        console.print(f"A report of them: make report RESULTS={battle.folder.name}", soft_wrap=True)
        return _INTERRUPTED
    # What makes the figures doubtful stands above them.
    show_doubts(console, battle.results)
    show_ranking(console, battle.results)
    show_state(console, battle.results)
    if any(failure.fault == "bench" for failure in battle.results.failed):
        console.print(
            f"Lost to the bench's own trouble, not to a stack; measure it again with: {_go_on(battle.folder)}"
        )
    console.print(f"Results and the servers' logs: {battle.folder}", soft_wrap=True)
    console.print("The report, for a browser:")
    print(_write_report(battle.folder))
    return 0 if passed(battle.results) else _FAILED


def _resume(name: str, machine: Machine) -> tuple[Path, Results, Plan]:
    folder = results_file.find(name)
    results = results_file.read(folder)
    if (results.machines is not None) != machine.apart:
        raise BadSetting(
            f"{name} was measured {'with' if machine.apart is False else 'without'} SERVER=: go on with it the same way"
        )
    plan = Plan.again(results.plan, machine.usable_cpus(), machine.apart)
    # What the bench lost is measured again, so it is no longer lost.
    results.failed = [failure for failure in results.failed if failure.fault == "stack"]
    return folder, results, plan


def _warn_of_another_commit(console: Console, results: Results) -> None:
    then, now = results.machines.client.git if results.machines else results.environment.git, git_state()
    if then != now:
        console.print("! The first part was measured at another commit, or with other changes.", style="yellow")


def _that_can_be_delayed(console: Console, plan: Plan, database: Database) -> Plan:
    """Return ``plan``, without the columns that need failpoints where mongod takes none and nobody asked for them.

    Learnt now, and not in the middle. Raises BadSetting where DB_LATENCY_MS asks for them.
    """
    try:
        for latency_ms in {column.db_latency_ms for column in plan.columns}:
            with database.delayed_finds(latency_ms):
                continue
    except BadSetting as refusal:
        if os.environ.get("DB_LATENCY_MS") or os.environ.get("RESUME"):
            raise
        console.print(f"No slow-database column: {refusal}", soft_wrap=True)
        return plan.model_copy(update={"columns": [each for each in plan.columns if not each.db_latency_ms]}).timed()
    return plan


def _explain_timeout(console: Console, plan: Plan) -> None:
    most = max(column.connections for column in plan.columns)
    if most >= _MANY_CONNECTIONS:
        console.print(
            f"{most:,} connections queue for {most:,} / R seconds at a server that answers R a second: with wrk's "
            f"timeout of {plan.timeout_s} s that is waiting, not failing, down to {most / plan.timeout_s:,.0f} a "
            f"second (wrk's default of 2 s would call it failing below {most / 2:,.0f}).",
        )


def _typed(name: str) -> str:
    given = [
        f'{variable}="{value}"' for variable in (*VARIABLES, *SERVER_VARIABLES) if (value := os.environ.get(variable))
    ]
    return " ".join(["make", name, *given])


def _go_on(folder: Path) -> str:
    given = [f"{variable}={value}" for variable in ("SERVER", "HOST") if (value := os.environ.get(variable))]
    return " ".join(["make", "battle", f"RESUME={folder.name}", *given])
