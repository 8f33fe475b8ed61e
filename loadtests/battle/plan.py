"""What a battle measures, in which order, and about how long that takes."""

import os
import tomllib
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Self

from loadtests.machines.placement import chosen_placement
from loadtests.results.battle import Entrant, Placement, PlanName, Planned
from loadtests.results.cell import Column, Known
from loadtests.settings import BadSetting, duration_s, endpoints, whole_number, whole_numbers, words
from loadtests.stacks.catalogue import Stack, named, stacks
from shared.address import brought_by_user

VARIABLES = (
    *("STACKS", "ENDPOINTS", "CONNECTIONS", "DURATION", "ROUNDS", "DB_LATENCY_MS", "THREADS_WRK", "TIMEOUT"),
    *("CPUS_SERVER", "CPUS_DB", "CPUS_LOAD", "PLAN", "SERVER", "HOST"),
)
# Of each process, and the most that the apps take.
_POOL, _MOST_POOLED = "MONGODB_MAX_POOL_SIZE", 100_000
# Set by the user, these reach every server; the bench must know them to know a stack's slots.
SERVER_VARIABLES = ("WEB_CONCURRENCY", "THREADS", "WORKER_CONNECTIONS", _POOL, "DB_TIMEOUT_MS")
_AGAIN = "[again]"
_SPARE_THREADS = 8
# A server that has been loaded already is warm but for the code of its other columns.
LATER_WARM_UP_S = 1
_START_AND_STOP_S = 2.5
# Two checks of the body, the look at a single connection, wrk's own start and the counters.
_AROUND_A_CELL_S = 0.9
# Below this rate a queue of all connections outlasts the timeout and wrk calls waiting a failure.
_SLOWEST_PER_S = 150


class Plan(Planned):
    """What is planned, with the stacks and the CPUs that it is for: these do not go into results.json."""

    stacks: dict[str, Stack]
    """By name."""
    cpus: int
    """How many CPUs a server may use."""
    machine_cpus: int
    """How many CPUs there are for all parts together, or for the server where they are apart."""
    apart: bool = False
    """Whether server, database and load generator have a machine each."""

    @classmethod
    def again(cls, planned: Planned, usable_cpus: Sequence[int], apart: bool = False) -> Self:
        """Return the plan that results.json holds. Raises BadSetting when one of its stacks is there no more."""
        return cls(
            **dict(planned),
            stacks={stack.name: stack for stack in named([entrant.stack for entrant in planned.entrants])},
            cpus=len(planned.placement.server or usable_cpus),
            machine_cpus=len(usable_cpus),
            apart=apart,
        )

    def timed(self) -> Self:
        """Return it with about how long it takes once everything is set up."""
        seconds = sum(self.estimated_round_s(number) for number in range(1, self.rounds + 1))
        return self.model_copy(update={"estimated_s": round(seconds, 1)})

    def estimated_round_s(self, round_number: int) -> float:
        seconds = 0.0
        for entrant in self.entrants:
            for _, columns in self.starts(entrant, round_number):
                seconds += _START_AND_STOP_S + sum(self._column_s(column) for column in columns)
                seconds += warm_up_step_s(columns[0].connections) * (self.warm_up_least_s - LATER_WARM_UP_S)
        return seconds

    def starts(self, entrant: Entrant, round_number: int) -> list[tuple[dict[str, str], list[Column]]]:
        """Return the settings of each start of ``entrant`` in that round, with the columns measured in it."""
        found: list[tuple[dict[str, str], list[Column]]] = []
        for column in self.columns_in(round_number):
            settings = self.settings_at(entrant, column.connections)
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

    def known(self, entrant: Entrant, column: Column, load_cpus: int) -> Known:
        """Return what is known of a cell beforehand; ``load_cpus`` are those of the load generator's machine."""
        placement = self.placement
        return Known(
            slots=self.slots(entrant, column.connections),
            slots_are=self.slots_are(entrant, column.connections),
            workers=self.workers(entrant),
            server_cpus=len(placement.server) if placement.server else self.cpus,
            database_cpus=len(placement.database) if placement.database else self.machine_cpus,
            load_cpus=len(placement.load) if placement.load else load_cpus,
            load_threads=self.threads_wrk,
            machine_cpus=self.machine_cpus,
            pinned=placement.pinned or self.apart,
            apart=self.apart,
        )

    def settings_at(self, entrant: Entrant, connections: int) -> dict[str, str]:
        """Return the environment variables to start an entrant with."""
        if self.stacks[entrant.stack].thread_per_connection and "THREADS" not in entrant.settings:
            # A connection that finds no thread waits until another closes; the last load's may still be closing.
            threads = ceil((connections + _SPARE_THREADS) / self.workers(entrant))
            return {**entrant.settings, "THREADS": str(threads)}
        return entrant.settings

    def workers(self, entrant: Entrant) -> int:
        stack, given = self.stacks[entrant.stack], entrant.settings.get("WEB_CONCURRENCY")
        # Where one process is all there is, that variable sets its threads.
        return int(given) if given and stack.processes != "1" else stack.default_processes(self.cpus)

    def slots(self, entrant: Entrant, connections: int) -> int | None:
        """Return how many finds it can have in the database at once, None where nobody has said."""
        limits = self._limits(entrant, connections)
        return min(limits)[0] * self.workers(entrant) if limits else None

    def slots_are(self, entrant: Entrant, connections: int) -> str:
        """Return what limits them, in words."""
        return min(self._limits(entrant, connections), default=(0, self.stacks[entrant.stack].slots_are))[1]

    def _limits(self, entrant: Entrant, connections: int) -> list[tuple[int, str]]:
        """Return what limits the finds of one process: what its stack says, and the pool that was asked for."""
        stack, settings = self.stacks[entrant.stack], self.settings_at(entrant, connections)
        each = stack.finds_each
        if isinstance(each, dict):
            ((variable, default),) = each.items()
            each = int(settings.get(variable, default))
        limits = [(each, stack.slots_are)] if each else []
        return [*limits, (int(settings[_POOL]), "pooled connections")] if _POOL in settings else limits

    def _column_s(self, column: Column) -> float:
        fairness_s = self.fairness_s if self.fairness_in(column) else 0
        return warm_up_step_s(column.connections) * LATER_WARM_UP_S + self.measure_s + fairness_s + _AROUND_A_CELL_S


def entrant_of(stack: Stack, settings: dict[str, str], label: str = "", repeats: str | None = None) -> Entrant:
    """Return ``stack`` as an entrant, under its own name where it has no other ``label``."""
    told = {name: getattr(stack, name) for name in ("title", "model", "keep_alive", "choose_when", "command")}
    who = {"label": label or stack.name, "stack": stack.name, "app": stack.app.name}
    return Entrant.model_validate({**who, **told, "settings": settings, "repeats": repeats})


def warm_up_step_s(connections: int) -> int:
    """Return how long one step of a warm-up lasts: long enough for every connection to get several replies."""
    return max(1, ceil(connections / 1000))


def plan_from_environment(name: PlanName, usable_cpus: Sequence[int], apart: bool = False) -> Plan:
    """Return the plan called ``battle``, ``battle-quick`` or ``battle-2014``, with the make variables applied.

    ``usable_cpus`` are those of the machine that the server runs on; ``apart`` says that it has that for itself.
    Raises BadSetting and BadAddress.
    """
    _apply_plan_file()
    placement = Placement() if apart else chosen_placement(usable_cpus)
    cpus = len(placement.server or usable_cpus)
    chosen = named(words("STACKS") or list(stacks()))
    own = {variable: str(whole_number(variable, 1)) for variable in SERVER_VARIABLES if os.environ.get(variable)}
    brought = brought_by_user()
    if brought and brought.max_pool_size is not None:
        # The URI wins over the variable in every app. There 0 means no limit, and the most here is none.
        own[_POOL] = str(min(brought.max_pool_size or _MOST_POOLED, _MOST_POOLED))
    full = name != "battle-quick"
    if name == "battle-2014":
        entrants = [entrant for stack in chosen for entrant in _variants_of_2014(stack, own, cpus)]
    else:
        entrants = [entrant_of(stack, own) for stack in chosen]
    columns = _columns(name)
    most = max(column.connections for column in columns)
    threads_wrk = whole_number("THREADS_WRK", 1, most=64)
    rounds = whole_number("ROUNDS", 3 if full else 1, most=1000)
    if threads_wrk > min(column.connections for column in columns):
        raise BadSetting(f"THREADS_WRK must not exceed CONNECTIONS: wrk cannot share them among {threads_wrk} threads")
    plan = Plan(
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
        # Asked for by name, they are in every round.
        delayed_from_round=1 if os.environ.get("DB_LATENCY_MS") else min(2, rounds),
        estimated_s=0,
        stacks={stack.name: stack for stack in chosen},
        cpus=cpus,
        machine_cpus=len(usable_cpus),
        apart=apart,
    )
    return plan.timed()


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
        return [entrant_of(stack, own)]
    return [
        entrant_of(stack, {**own, "WEB_CONCURRENCY": str(count)}, f"{stack.name} [{variant}]")
        for variant, count in workers.items()
    ]


def _with_repeat(entrants: list[Entrant]) -> list[Entrant]:
    """Put one entrant in once more (A/A), half-way round, so that its two runs are as far apart as can be."""
    # Of the article's kinds an event loop that keeps connections alive is the steadiest; it shows the machine's noise.
    first = next((each for each in entrants if each.keep_alive and each.model == "events"), entrants[0])
    again = first.model_copy(update={"label": f"{first.label} {_AGAIN}", "repeats": first.label})
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
