"""What a battle measures, in which order, and about how long that takes."""

import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Self

from loadtests.machines.placement import chosen_placement
from loadtests.results.battle import Placement, Planned, PlannedEntrant
from loadtests.results.cell import Column, Known
from loadtests.settings import BadSetting, duration_s, endpoints, whole_number, whole_numbers, words
from loadtests.stacks.catalogue import Stack, named, stacks

VARIABLES = (
    *("STACKS", "ENDPOINTS", "CONNECTIONS", "DURATION", "ROUNDS", "DB_LATENCY_MS", "THREADS_WRK", "TIMEOUT"),
    *("CPUS_SERVER", "CPUS_DB", "CPUS_LOAD", "PLAN", "SERVER", "HOST"),
)
# Set by the user, these reach every server; the bench must know them to know a stack's slots.
SERVER_VARIABLES = ("WEB_CONCURRENCY", "THREADS", "WORKER_CONNECTIONS", "MONGODB_MAX_POOL_SIZE", "DB_TIMEOUT_MS")
_AGAIN = "[again]"
_SPARE_THREADS = 8
# A server that has been loaded already is warm but for the code of its other columns.
LATER_WARM_UP_S = 1
_START_AND_STOP_S = 2.5
# Two checks of the body, the look at a single connection, wrk's own start and the counters.
_AROUND_A_CELL_S = 0.9
# Below this rate a queue of all connections outlasts the timeout and wrk calls waiting a failure.
_SLOWEST_PER_S = 150


@dataclass(frozen=True)
class Entrant:
    """A stack with the settings it is started with. ``repeats`` is the label of the entrant that this is once more."""

    label: str
    stack: Stack
    settings: dict[str, str] = field(default_factory=dict)
    repeats: str | None = None

    def settings_at(self, connections: int, cpus: int) -> dict[str, str]:
        """Return the environment variables to start it with."""
        if self.stack.thread_per_connection and "THREADS" not in self.settings:
            # A connection that finds no thread waits until another closes; the last load's may still be closing.
            return {**self.settings, "THREADS": str(ceil((connections + _SPARE_THREADS) / self.workers(cpus)))}
        return dict(self.settings)

    def workers(self, cpus: int) -> int:
        given = self.settings.get("WEB_CONCURRENCY")
        # Where one process is all there is, that variable sets its threads.
        return int(given) if given and self.stack.processes != "1" else self.stack.default_processes(cpus)

    def slots(self, connections: int, cpus: int) -> int | None:
        """Return how many finds it can have in the database at once, None where its stack does not say."""
        each = self.stack.finds_each
        if isinstance(each, dict):
            ((variable, default),) = each.items()
            each = int(self.settings_at(connections, cpus).get(variable, default))
        return each * self.workers(cpus) if each else None


@dataclass(frozen=True)
class Plan:
    """Every entrant in every column, ``rounds`` times. Durations in seconds."""

    name: str
    entrants: list[Entrant]
    columns: list[Column]
    rounds: int
    measure_s: int
    warm_up_least_s: int
    warm_up_most_s: int
    fairness_s: float
    timeout_s: int
    threads_wrk: int
    placement: Placement
    cpus: int
    """How many CPUs a server may use."""
    machine_cpus: int
    """How many CPUs there are for all parts together, or for the server where they are apart."""
    apart: bool = False
    """Whether server, database and load generator have a machine each."""
    delayed_from_round: int = 1
    """The first round with the columns of a slow database: a first ranking need not wait for them."""

    @property
    def estimated_s(self) -> float:
        """Return about how long it takes once everything is set up."""
        return sum(self.estimated_round_s(number) for number in range(1, self.rounds + 1))

    def estimated_round_s(self, round_number: int) -> float:
        seconds = 0.0
        for entrant in self.entrants:
            for _, columns in self.starts(entrant, round_number):
                seconds += _START_AND_STOP_S + sum(self._column_s(column) for column in columns)
                seconds += warm_up_step_s(columns[0].connections) * (self.warm_up_least_s - LATER_WARM_UP_S)
        return seconds

    @property
    def cells(self) -> int:
        return len(self.entrants) * sum(len(self.columns_in(number)) for number in range(1, self.rounds + 1))

    def columns_in(self, round_number: int) -> list[Column]:
        return [each for each in self.columns if not each.db_latency_ms or round_number >= self.delayed_from_round]

    def starts(self, entrant: Entrant, round_number: int) -> list[tuple[dict[str, str], list[Column]]]:
        """Return the settings of each start of ``entrant`` in that round, with the columns measured in it."""
        found: list[tuple[dict[str, str], list[Column]]] = []
        for column in self.columns_in(round_number):
            settings = entrant.settings_at(column.connections, self.cpus)
            same = next((columns for known, columns in found if known == settings), None)
            if same is None:
                found.append((settings, [column]))
            else:
                same.append(column)
        return found

    def order(self, round_number: int) -> list[Entrant]:
        """Return the entrants of a round, the first being 1: A B C, then B C A, so that drift falls on all alike."""
        by = (round_number - 1) % len(self.entrants)
        return [*self.entrants[by:], *self.entrants[:by]]

    def fairness_in(self, column: Column) -> bool:
        # With every find delayed there is little to see that the column without the delay does not show.
        return self.fairness_s > 0 and column.db_latency_ms == 0

    def _column_s(self, column: Column) -> float:
        fairness_s = self.fairness_s if self.fairness_in(column) else 0
        return warm_up_step_s(column.connections) * LATER_WARM_UP_S + self.measure_s + fairness_s + _AROUND_A_CELL_S

    def recorded(self) -> Planned:
        """Return what results.json keeps of it."""
        return Planned.model_validate(
            {
                "name": self.name,
                "rounds": self.rounds,
                "entrants": [self._entrant(entrant) for entrant in self.entrants],
                "columns": self.columns,
                "measure_s": self.measure_s,
                "warm_up_s": {"least": self.warm_up_least_s, "most": self.warm_up_most_s},
                "fairness_s": self.fairness_s,
                "delayed_from_round": self.delayed_from_round,
                "timeout_s": self.timeout_s,
                "threads_wrk": self.threads_wrk,
                "placement": self.placement,
                "estimated_s": round(self.estimated_s, 1),
            }
        )

    def known(self, entrant: Entrant, column: Column, load_cpus: int) -> Known:
        """Return what is known of a cell beforehand; ``load_cpus`` are those of the load generator's machine."""
        placement = self.placement
        return Known(
            slots=entrant.slots(column.connections, self.cpus),
            slots_are=entrant.stack.slots_are,
            workers=entrant.workers(self.cpus),
            server_cpus=len(placement.server) if placement.server else self.cpus,
            database_cpus=len(placement.database) if placement.database else self.machine_cpus,
            load_cpus=len(placement.load) if placement.load else load_cpus,
            load_threads=self.threads_wrk,
            machine_cpus=self.machine_cpus,
            pinned=placement.pinned or self.apart,
            apart=self.apart,
        )

    def _entrant(self, entrant: Entrant) -> PlannedEntrant:
        stack = entrant.stack
        connections = max(column.connections for column in self.columns)
        return PlannedEntrant.model_validate(
            {
                "label": entrant.label,
                "stack": stack.name,
                "app": stack.app.name,
                "title": stack.title,
                "model": stack.model,
                "keep_alive": stack.keep_alive,
                "choose_when": stack.choose_when,
                "command": stack.command,
                "settings": entrant.settings,
                "repeats": entrant.repeats,
                "slots": entrant.slots(connections, self.cpus),
            }
        )

    @classmethod
    def again(cls, planned: Planned, usable_cpus: Sequence[int], apart: bool = False) -> Self:
        """Return the plan that results.json holds. Raises BadSetting when one of its stacks is there no more."""
        return cls(
            name=planned.name,
            entrants=[
                Entrant(entry.label, named([entry.stack])[0], entry.settings, entry.repeats)
                for entry in planned.entrants
            ],
            columns=planned.columns,
            rounds=planned.rounds,
            measure_s=planned.measure_s,
            warm_up_least_s=planned.warm_up_s.least,
            warm_up_most_s=planned.warm_up_s.most,
            fairness_s=planned.fairness_s,
            timeout_s=planned.timeout_s,
            threads_wrk=planned.threads_wrk,
            placement=planned.placement,
            cpus=len(planned.placement.server or usable_cpus),
            machine_cpus=len(usable_cpus),
            apart=apart,
            delayed_from_round=planned.delayed_from_round,
        )


def warm_up_step_s(connections: int) -> int:
    """Return how long one step of a warm-up lasts: long enough for every connection to get several replies."""
    return max(1, ceil(connections / 1000))


def plan_from_environment(name: str, usable_cpus: Sequence[int], apart: bool = False) -> Plan:
    """Return the plan called ``battle``, ``battle-quick`` or ``battle-2014``, with the make variables applied.

    ``usable_cpus`` are those of the machine that the server runs on; ``apart`` says that it has that for itself.
    Raises BadSetting.
    """
    _apply_plan_file()
    placement = Placement() if apart else chosen_placement(usable_cpus)
    cpus = len(placement.server or usable_cpus)
    chosen = named(words("STACKS") or list(stacks()))
    own = {variable: value for variable in SERVER_VARIABLES if (value := os.environ.get(variable))}
    full = name != "battle-quick"
    if name == "battle-2014":
        entrants = [entrant for stack in chosen for entrant in _variants_of_2014(stack, own, cpus)]
    else:
        entrants = [Entrant(stack.name, stack, own) for stack in chosen]
    columns = _columns(name)
    most = max(column.connections for column in columns)
    threads_wrk = whole_number("THREADS_WRK", 1, most=64)
    rounds = whole_number("ROUNDS", 3 if full else 1, most=1000)
    if threads_wrk > min(column.connections for column in columns):
        raise BadSetting(f"THREADS_WRK must not exceed CONNECTIONS: wrk cannot share them among {threads_wrk} threads")
    return Plan(
        name=name,
        entrants=_with_repeat(entrants) if full else entrants,
        columns=columns,
        rounds=rounds,
        measure_s=duration_s("DURATION", {"battle": "3s", "battle-quick": "2s", "battle-2014": "30s"}[name]),
        warm_up_least_s=2 if full else 1,
        warm_up_most_s={"battle": 8, "battle-quick": 2, "battle-2014": 20}[name],
        fairness_s=1.25 if full else 1.0,
        timeout_s=duration_s("TIMEOUT", f"{max(10, ceil(most / _SLOWEST_PER_S))}s"),
        threads_wrk=threads_wrk,
        placement=placement,
        cpus=cpus,
        machine_cpus=len(usable_cpus),
        apart=apart,
        # Asked for by name, they are in every round.
        delayed_from_round=1 if os.environ.get("DB_LATENCY_MS") else min(2, rounds),
    )


def _columns(name: str) -> list[Column]:
    latencies = whole_numbers("DB_LATENCY_MS", "0", least=0, most=10_000)
    chosen = endpoints()
    columns = [
        Column.model_validate({"endpoint": endpoint, "connections": connections, "db_latency_ms": latency_ms})
        for connections in whole_numbers(
            "CONNECTIONS", "200 1000 5000" if name == "battle-2014" else "200", most=50_000
        )
        for latency_ms in latencies
        for endpoint in chosen
    ]
    if name != "battle-2014" and not os.environ.get("DB_LATENCY_MS") and "mongo" in chosen:
        # What the article never measured: who can wait for a slow database.
        columns.append(Column(endpoint="mongo", connections=columns[0].connections, db_latency_ms=20))
    return columns


def _variants_of_2014(stack: Stack, own: dict[str, str], cpus: int) -> list[Entrant]:
    """Return the article's ways to run ``stack``: the numbers of workers that it compared."""
    workers = {
        "uwsgi-gevent": {"1 process": 1, f"{cpus} processes": cpus},
        "gunicorn-gevent": {f"{cpus} workers": cpus, f"{2 * cpus + 1} workers": 2 * cpus + 1},
        "gunicorn-sync": {f"{2 * cpus + 1} workers": 2 * cpus + 1},
    }.get(stack.name)
    if workers is None or "WEB_CONCURRENCY" in own:
        return [Entrant(stack.name, stack, own)]
    return [
        Entrant(f"{stack.name} [{variant}]", stack, {**own, "WEB_CONCURRENCY": str(count)})
        for variant, count in workers.items()
    ]


def _with_repeat(entrants: list[Entrant]) -> list[Entrant]:
    """Put one entrant in once more (A/A), half-way round, so that its two runs are as far apart as can be."""
    # Of the article's kinds an event loop that keeps connections alive is the steadiest; it shows the machine's noise.
    first = next((each for each in entrants if each.stack.keep_alive and each.stack.model == "events"), entrants[0])
    again = replace(first, label=f"{first.label} {_AGAIN}", repeats=first.label)
    place = (entrants.index(first) + len(entrants) // 2 + 1) % (len(entrants) + 1)
    return [*entrants[:place], again, *entrants[place:]]


def _apply_plan_file() -> None:
    """Take from the TOML file that PLAN names what the environment does not set: ``connections = [200, 1000]``."""
    path = os.environ.get("PLAN")
    if not path:
        return
    try:
        entries = tomllib.loads(Path(path).read_text())
    except (OSError, ValueError) as problem:
        raise BadSetting(f"PLAN must be a TOML file that can be read: {path}: {problem}") from None
    unknown = [name for name in entries if name.upper() not in VARIABLES]
    if unknown:
        raise BadSetting(
            f"PLAN {path}: no setting is called {' '.join(unknown)}; there are: {' '.join(VARIABLES).lower()}"
        )
    for name, value in entries.items():
        text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        os.environ.setdefault(name.upper(), text)
