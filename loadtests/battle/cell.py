"""One cell: a started server, one column of the plan. Load it, count, and have the counts judged."""

import http.client
import time
from collections.abc import Callable
from dataclasses import dataclass

from loadtests.battle.plan import Plan, warm_up_step_s
from loadtests.judge.figures import figures as figures_of
from loadtests.judge.steady import half_second_rates, is_stable, ramp_allowance_s, was_still_cold
from loadtests.judge.verdict import judge
from loadtests.machines.leftovers import Run
from loadtests.machines.local import Machine
from loadtests.machines.placement import usable_cpus
from loadtests.measure import wrk
from loadtests.measure.costs import Meter
from loadtests.measure.database import Database
from loadtests.measure.observer import observe
from loadtests.measure.watch import Watch
from loadtests.measure.wrk import Load, WrkFailed
from loadtests.results.battle import Entrant
from loadtests.results.cell import Cell, Column
from loadtests.results.counts import Counts, Observation, Usage, WarmUp, WrkCounts
from loadtests.results.file import now
from loadtests.stacks.bodies import EXPECTED, PATHS, WrongReply, check
from loadtests.stacks.server import Server, StackFailed

_UNLOADED_S = 0.35
_MOST_REPEATS_WHEN_COLD = 2
_SETTLE_S = 10
# More than a clock is slewed by in a minute.
_CLOCK_STEP_S = 0.1
# Where wrk lost connections and the plan has no look at fairness, the observer looks for this long what became of them.
_SECOND_LOOK_S = 1.0


@dataclass(frozen=True)
class Bench:
    """What every cell is measured with. ``stage`` is told what goes on."""

    plan: Plan
    database: Database
    run: Run
    machine: Machine
    stage: Callable[[str], None]


def measure_cell(
    bench: Bench, server: Server, entrant: Entrant, round_number: int, column: Column, warm_up_least_s: int
) -> Cell:
    """Measure one cell, after ``warm_up_least_s`` steps of warm-up at least.

    Raises StackFailed or WrongReply where the stack is at fault, WrkFailed or DatabaseGone where it is not.
    """
    begun, started = time.monotonic(), now()
    counts = _count(bench, server, column, warm_up_least_s)
    known = bench.plan.known(entrant, column, len(usable_cpus()))
    figures = figures_of(known, column, counts, fair=bench.plan.fairness_in(column))
    return Cell(
        entrant=entrant.label,
        round=round_number,
        column=column,
        started=started,
        took_s=round(time.monotonic() - begun, 2),
        known=known,
        counts=counts,
        figures=figures,
        verdict=judge(known, column, figures),
    )


def _count(bench: Bench, server: Server, column: Column, warm_up_least_s: int) -> Counts:
    plan = bench.plan
    with bench.database.delayed_finds(column.db_latency_ms):
        bench.stage("checking the body")
        check(server, column.endpoint)
        alone = _observe(bench, server, column, 1, _UNLOADED_S)
        bench.stage("warming up")
        warm_up, ramp_s = _warm_up(bench, server, column, warm_up_least_s)
        load = _load(bench, column, plan.measure_s + ramp_s)
        _settle(server)
        bench.stage(f"{column.connections} connections for {load.duration_s} s")
        watched = _Watched(bench, server, column, load)
        for _ in range(_MOST_REPEATS_WHEN_COLD):
            if not was_still_cold(warm_up.rates_per_s, _half_seconds(watched.wrk)):
                break
            warm_up = _with_another_step(warm_up, watched.wrk)
            bench.stage(f"{column.connections} connections for {load.duration_s} s once more: it was not warm")
            watched = _Watched(bench, server, column, load)
        observed = None
        if plan.fairness_in(column):
            bench.stage("fairness")
            _settle(server)
            observed = _observe(bench, server, column, column.connections, plan.fairness_s + ramp_s)
        elif watched.wrk.lost:
            observed = _observe(bench, server, column, column.connections, _SECOND_LOOK_S)
        bench.stage("checking that it still answers")
        _still_answers(server, column.endpoint)
    return watched.counts(warm_up, alone, observed)


class _Watched:
    """wrk's run, with everything that is counted around it."""

    def __init__(self, bench: Bench, server: Server, column: Column, load: Load) -> None:
        self._server = bench.machine.watch(server)
        pid = None if bench.plan.apart else bench.database.local_pid()
        self._database = Meter(lambda: [pid]) if pid is not None else None
        self._load = Meter(lambda: [self._wrk_pid] if self._wrk_pid else [])
        self._wrk_pid = 0
        watched: list[Watch | Meter] = [self._server, *([self._database] if self._database else [])]
        finds_before = bench.database.finds()
        begun = time.monotonic()
        clock = time.time() - begun
        for each in watched:
            each.begin()
        bench_before = time.process_time()
        self.wrk = _run_wrk(bench, server, column, load, self._sample)
        self._bench_s = time.process_time() - bench_before
        for each in watched:
            each.end()
        self._wall_s = time.monotonic() - begun
        if abs(time.time() - time.monotonic() - clock) > _CLOCK_STEP_S:
            raise WrkFailed("the machine's clock was set while wrk ran, and wrk times its replies by it")
        _require_alive(server)
        finds_after = bench.database.finds()
        counted = finds_before is not None and finds_after is not None and column.endpoint != "sleep"
        self._finds = finds_after - finds_before if counted else None  # type: ignore[operator]

    def _sample(self, wrk_pid: int) -> None:
        self._wrk_pid = wrk_pid
        for each in (self._server, self._database, self._load):
            if each:
                each.sample()

    def counts(self, warm_up: WarmUp, alone: Observation, observed: Observation | None) -> Counts:
        return Counts(
            warm_up=warm_up,
            alone=alone,
            wrk=self.wrk,
            observed=observed,
            finds=self._finds,
            wall_s=self._wall_s,
            server=self._server.usage(),
            database=self._database.usage() if self._database else None,
            load=self._load_usage(),
            bench_s=self._bench_s,
            machine=self._server.machine(),
        )

    def _load_usage(self) -> Usage:
        # What wrk used is exact from the kernel's account at its end; only memory and threads are sampled.
        exact = {
            "user_s": self.wrk.user_s,
            "system_s": self.wrk.system_s,
            "voluntary_switches": self.wrk.voluntary_switches,
            "involuntary_switches": self.wrk.involuntary_switches,
            "cpu_s_by_process": [self.wrk.user_s + self.wrk.system_s],
            "processes": 1,
        }
        return self._load.usage().model_copy(update=exact)


def _warm_up(bench: Bench, server: Server, column: Column, least: int) -> tuple[WarmUp, int]:
    """Return what the warm-up showed, and the seconds that its ramp needs on top of a measurement."""
    step_s = warm_up_step_s(column.connections)
    begun = time.monotonic()
    rates: list[float] = []
    for step in range(1, bench.plan.warm_up_most_s + 1):
        measured = _run_wrk(bench, server, column, _load(bench, column, step_s))
        _require_alive(server)
        rates += _half_seconds(measured)
        if step >= least and is_stable(rates):
            break
    seen = WarmUp(took_s=time.monotonic() - begun, stable=is_stable(rates), rates_per_s=rates)
    return seen, ramp_allowance_s(measured.first_replies_s, column.connections, bench.plan.measure_s)


def _with_another_step(warm_up: WarmUp, measured: WrkCounts) -> WarmUp:
    rates = warm_up.rates_per_s + _half_seconds(measured)
    return WarmUp(took_s=warm_up.took_s + measured.asked_s, stable=is_stable(rates), rates_per_s=rates)


def _half_seconds(measured: WrkCounts) -> list[float]:
    ramp_s = max(measured.first_replies_s, default=0)
    return [round(rate, 1) for rate in half_second_rates(measured.windows_ok, measured.asked_s, ramp_s)]


def _run_wrk(
    bench: Bench, server: Server, column: Column, load: Load, meanwhile: Callable[[int], None] | None = None
) -> WrkCounts:
    try:
        return wrk.run(
            f"{server.url}{PATHS[column.endpoint]}",
            load,
            EXPECTED[column.endpoint],
            cpus=bench.plan.placement.load,
            environment=bench.run.environment,
            meanwhile=meanwhile,
        )
    except WrkFailed as failure:
        _require_alive(server)
        if "unable to connect" in str(failure):
            raise StackFailed(f"{server.stack.name} lives and accepts no connection{server.tail()}") from None
        raise


def _observe(bench: Bench, server: Server, column: Column, connections: int, duration_s: float) -> Observation:
    path, body = PATHS[column.endpoint], EXPECTED[column.endpoint]
    return observe(server.host, server.port, path, connections, duration_s, bench.plan.timeout_s, body)


def _load(bench: Bench, column: Column, duration_s: int) -> Load:
    return Load(column.connections, duration_s, bench.plan.threads_wrk, bench.plan.timeout_s)


def _require_alive(server: Server) -> None:
    status = server.poll()
    if status is not None:
        raise StackFailed(
            f"{server.stack.name} ended by itself with status {status} while it was measured{server.tail()}"
        )


def _settle(server: Server) -> None:
    """Wait until the server answers a newcomer.

    The last load has left requests queued, and a server that takes them in turn works through them for clients that
    are gone: the next load must not pay for it.
    """
    client = http.client.HTTPConnection(server.host, server.port, timeout=_SETTLE_S)
    try:
        client.request("GET", wrk.RAMP_PATH)
        client.getresponse().read()
    except (OSError, http.client.HTTPException):
        # The next load will tell what is wrong with it, and count it.
        _require_alive(server)
    finally:
        client.close()


def _still_answers(server: Server, endpoint: str) -> None:
    try:
        check(server, endpoint)
    except WrongReply:
        _require_alive(server)
        raise
