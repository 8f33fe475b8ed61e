"""A battle of known servers, small enough for tests.

``python -m tests.battle.known_battle FOLDER MONGODB_URI`` fights one in a process of its own. FOLDER takes the results;
a battle that is there already is gone on with.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtests.battle.plan import Plan, entrant_of
from loadtests.battle.rounds import Battle, Watcher, new_results
from loadtests.machines import leftovers
from loadtests.machines.description import describe
from loadtests.measure.database import Database
from loadtests.results import file as results
from loadtests.results.battle import Entrant, Placement
from loadtests.results.cell import Column
from loadtests.settings import ROOT
from loadtests.signals import Stopped, stopped_by_signals
from loadtests.stacks.bodies import EXPECTED
from loadtests.stacks.catalogue import App, Stack

DATABASE = "known_answers"
SETTINGS = {"RIGHT_BODY": EXPECTED["mongo"].decode(), "MONGODB_DATABASE": DATABASE}


def known_stack(behaviour: str, setup: tuple[str, ...] = (), **known: Any) -> Stack:
    app = App(name="tests", tools=(), inputs=(), setup=setup, path="", test="")
    defaults = {"model": "events", "keep_alive": True, "choose_when": "", "processes": "1"}
    command = shlex.join([sys.executable, str(ROOT / "tests" / "battle" / "known_server.py"), behaviour])
    return Stack(name=behaviour, title=behaviour, app=app, command=command, **{**defaults, **known})


def known_entrant(behaviour: str, label: str = "", repeats: str | None = None, **known: Any) -> tuple[Entrant, Stack]:
    stack = known_stack(behaviour, **known)
    return entrant_of(stack, SETTINGS, label, repeats), stack


def known_plan(entrants: Sequence[tuple[Entrant, Stack]], columns: Sequence[Column] = (), **changes: Any) -> Plan:
    usual = {
        "name": "battle",
        "rounds": 1,
        "measure_s": 1,
        "warm_up_least_s": 1,
        "warm_up_most_s": 1,
        "fairness_s": 0.5,
        "delayed_from_round": 1,
        "timeout_s": 5,
        "threads_wrk": 1,
        "placement": Placement(),
        "estimated_s": 0,
        "cpus": 2,
        "machine_cpus": 2,
    }
    return Plan(
        entrants=[entrant for entrant, _ in entrants],
        stacks={stack.name: stack for _, stack in entrants},
        columns=list(columns) or [Column(endpoint="mongo", connections=20)],
        **{**usual, **changes},
    )


def known_battle(
    plan: Plan, folder: Path, uri: str, watcher: Watcher | None = None, own_mongod: bool = False
) -> Battle:
    """Return a battle in ``folder / "fight"``, with what is there already of it."""
    fight = folder / "fight"
    fight.mkdir(exist_ok=True)
    database = Database(uri)
    found = (fight / "results.json").exists()
    known = results.read(fight) if found else new_results(plan, describe([], database.version()), "make battle")
    return Battle(plan, known, fight, database, own_mongod, leftovers.Run(folder), watcher or Watcher())


def two_that_answer() -> Plan:
    return known_plan([known_entrant("fixed"), known_entrant("finds")], rounds=2)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with leftovers.alone(folder):
        for line in leftovers.end_leftovers(folder):
            print("ended", line, flush=True)
        battle = known_battle(two_that_answer(), folder, sys.argv[2])
        try:
            with stopped_by_signals():
                battle.fight()
        except Stopped:
            battle.save()
            sys.exit(130)
        battle.run.over()
