"""One cell: a started server, one column of the plan. Warm it up, load it, watch it, and say what was seen."""

import http.client
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from loadtests.battle.plan import Column, Entrant, Plan, warm_up_step_s
from loadtests.judge import figures
from loadtests.judge.steady import half_second_rates, is_stable, ramp_allowance_s, was_still_cold
from loadtests.judge.verdict import Evidence, ceiling, judge
from loadtests.machines.leftovers import Run
from loadtests.machines.local import Machine
from loadtests.machines.placement import usable_cpus
from loadtests.measure import wrk
from loadtests.measure.costs import Usage, result
from loadtests.measure.database import Database
from loadtests.measure.observer import Observation, observe
from loadtests.measure.watch import Watch
from loadtests.measure.wrk import Load, Measured, WrkFailed
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
) -> dict[str, Any]:
    """Measure and return one cell (docs/results.md), after ``warm_up_least_s`` steps of warm-up at least.

    Raises StackFailed or WrongReply where the stack is at fault, WrkFailed or DatabaseGone where it is not.
    """
    begun = time.monotonic()
    started = now()
    endpoint = column.endpoint
    with bench.database.delayed_finds(column.db_latency_ms):
        bench.stage("checking the body")
        check(server, endpoint)
        unloaded = observe(server.host, server.port, PATHS[endpoint], 1, _UNLOADED_S, bench.plan.timeout_s)
        bench.stage("warming up")
        warm_up, ramp_s = _warm_up(bench, server, column, warm_up_least_s)
        load = _load(bench, column, bench.plan.measure_s + ramp_s)
        _settle(server)
        bench.stage(f"{column.connections} connections for {load.duration_s} s")
        watched = _Watched(bench, server)
        measured = watched.load(server, column, load)
        for _ in range(_MOST_REPEATS_WHEN_COLD):
            if not _counts_as_warm_up(warm_up, measured, load):
                break
            bench.stage(f"{column.connections} connections for {load.duration_s} s once more: it was not warm")
            watched = _Watched(bench, server)
            measured = watched.load(server, column, load)
        observed = None
        if bench.plan.fairness_in(column):
            bench.stage("fairness")
            _settle(server)
            observed = _observe(bench, server, column, bench.plan.fairness_s + ramp_s)
        elif measured.lost:
            observed = _observe(bench, server, column, _SECOND_LOOK_S)
        bench.stage("checking that it still answers")
        _still_answers(server, endpoint)
    ended, ended_by = figures.outcomes(measured, observed, column.connections)
    rate = figures.rate(measured, column.connections, load.duration_s)
    slots = entrant.slots(column.connections, bench.plan.cpus)
    cost, machine = watched.results(measured)
    return {
        "entrant": entrant.label,
        "round": round_number,
        **asdict(column),
        "started": started,
        "took_s": round(time.monotonic() - begun, 2),
        "rate": rate,
        "latency_ms": figures.latency(measured),
        "outcomes": ended,
        "outcomes_by": ended_by,
        "ramp": figures.ramp(measured, column.connections),
        "warm_up": warm_up,
        "unloaded_ms": figures.unloaded(unloaded),
        "fairness": figures.fairness(observed) if observed and bench.plan.fairness_in(column) else None,
        "finds": figures.finds(watched.finds if endpoint != "sleep" else None, measured, column.connections),
        "cost": cost,
        "machine": machine,
        "ceiling": ceiling(slots, column.connections, column.db_latency_ms) if endpoint != "sleep" else None,
        "verdict": judge(
            _evidence(bench.plan, entrant, column, slots, rate["ok_per_s"], measured, ended, cost, machine)
        ),
        "wrk": {"command": " ".join(load.command(f"{server.url}{PATHS[endpoint]}")), "output": measured.output},
    }


class _Watched:
    """wrk's run with everything that is counted around it."""

    def __init__(self, bench: Bench, server: Server) -> None:
        self._bench = bench
        self._server = bench.machine.watch(server)
        pid = None if bench.plan.apart else bench.database.local_pid()
        self._database = Usage(lambda: [pid]) if pid is not None else None
        self._load = Usage(lambda: [self._wrk_pid] if self._wrk_pid else [])
        self._wrk_pid = 0
        self._wall_s = 0.0
        self._bench_s = 0.0
        self.finds: int | None = None

    def load(self, server: Server, column: Column, load: Load) -> Measured:
        watched: list[Watch | Usage] = [self._server, *([self._database] if self._database else [])]
        finds_before = self._bench.database.finds()
        begun = time.monotonic()
        clock = time.time() - begun
        for each in watched:
            each.begin()
        bench_before = time.process_time()
        measured = _run_wrk(self._bench, server, column, load, self._sample)
        self._bench_s = time.process_time() - bench_before
        for each in watched:
            each.end()
        self._wall_s = time.monotonic() - begun
        if abs(time.time() - time.monotonic() - clock) > _CLOCK_STEP_S:
            raise WrkFailed("the machine's clock was set while wrk ran, and wrk times its replies by it")
        _require_alive(server)
        finds_after = self._bench.database.finds()
        if finds_before is not None and finds_after is not None:
            self.finds = finds_after - finds_before
        return measured

    def _sample(self, wrk_pid: int) -> None:
        self._wrk_pid = wrk_pid
        for usage in (self._server, self._database, self._load):
            if usage:
                usage.sample()

    def results(self, measured: Measured) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the ``cost`` and the ``machine`` part of the cell."""
        server = self._server.cost(self._wall_s, measured.replies)
        database = self._database.as_result(self._wall_s, measured.replies) if self._database else None
        sampled = self._load.as_result(self._wall_s, measured.replies)
        # What wrk used is exact from the kernel's account at its end; only memory, threads and sockets are sampled.
        load = result(
            measured.cpu_user_s,
            measured.cpu_system_s,
            self._wall_s,
            measured.replies,
            pss=[size for size in (sampled["pss_peak_bytes"], sampled["pss_mean_bytes"]) if size],
            processes=1,
            threads=sampled["threads"],
            voluntary=measured.voluntary_switches,
            involuntary=measured.involuntary_switches,
            sockets=sampled["sockets"],
            by_process=[(measured.cpu_user_s + measured.cpu_system_s) / self._wall_s],
        )
        ours_s = server["cores"] * self._wall_s
        if not self._bench.plan.apart:
            ours_s += (load["cores"] + (database["cores"] if database else 0)) * self._wall_s + self._bench_s
        machine = self._server.machine(ours_s)
        bench_cores = round(self._bench_s / self._wall_s, 4)
        return {"server": server, "database": database, "load": load, "bench_cores": bench_cores}, machine


def _warm_up(bench: Bench, server: Server, column: Column, least: int) -> tuple[dict[str, Any], int]:
    """Return the ``warm_up`` part of the cell, and the seconds that its ramp needs on top of a measurement."""
    step_s = warm_up_step_s(column.connections)
    begun = time.monotonic()
    rates: list[float] = []
    for step in range(1, bench.plan.warm_up_most_s + 1):
        measured = _run_wrk(bench, server, column, _load(bench, column, step_s))
        _require_alive(server)
        rates += half_second_rates(measured.windows_ok, step_s, max(measured.first_replies_s, default=0))
        if step >= least and is_stable(rates):
            break
    seen = {
        "took_s": round(time.monotonic() - begun, 2),
        "stable": is_stable(rates),
        "rates_per_s": [round(rate, 1) for rate in rates],
    }
    return seen, ramp_allowance_s(measured.first_replies_s, column.connections, bench.plan.measure_s)


def _counts_as_warm_up(warm_up: dict[str, Any], measured: Measured, load: Load) -> bool:
    """Return whether ``measured`` shows that the server was not warm; if so it is noted in ``warm_up``."""
    rates = half_second_rates(measured.windows_ok, load.duration_s, max(measured.first_replies_s, default=0))
    if not was_still_cold(warm_up["rates_per_s"], rates):
        return False
    warm_up["took_s"] += load.duration_s
    warm_up["rates_per_s"] += [round(rate, 1) for rate in rates]
    warm_up["stable"] = is_stable(rates)
    return True


def _run_wrk(
    bench: Bench, server: Server, column: Column, load: Load, meanwhile: Callable[[int], None] | None = None
) -> Measured:
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


def _observe(bench: Bench, server: Server, column: Column, duration_s: float) -> Observation:
    return observe(
        server.host,
        server.port,
        PATHS[column.endpoint],
        column.connections,
        duration_s,
        bench.plan.timeout_s,
        EXPECTED[column.endpoint],
    )


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


def _evidence(
    plan: Plan,
    entrant: Entrant,
    column: Column,
    slots: int | None,
    ok_per_s: float,
    measured: Measured,
    ended: dict[str, Any],
    cost: dict[str, Any],
    machine: dict[str, Any],
) -> Evidence:
    placement = plan.placement
    everywhere = plan.cpus if placement.server is None else len(placement.server)
    database = cost["database"]
    here = (cost["server"],) if plan.apart else (cost["server"], cost["load"], database)
    ours = sum(part["cores"] for part in here if part)
    load_cpus = usable_cpus() if plan.apart else range(plan.machine_cpus)
    return Evidence(
        slots_are=entrant.stack.slots_are,
        connections=column.connections,
        ok_per_s=ok_per_s,
        mean_latency_ms=measured.mean_ms,
        failed_fraction=figures.failed_fraction(ended),
        db_latency_ms=column.db_latency_ms if column.endpoint != "sleep" else 0,
        slots=slots,
        workers=entrant.workers(plan.cpus),
        # Where only some CPUs may be used, the battle can fill those while the machine is not full.
        machine_busy=max(machine["busy"] + machine["steal"], min(1.0, ours / plan.machine_cpus)),
        machine_cpus=plan.machine_cpus,
        pinned=placement.pinned or plan.apart,
        server_cores=cost["server"]["cores"],
        server_cpus=everywhere,
        server_by_process=tuple(cost["server"]["cores_by_process"]),
        load_cores=cost["load"]["cores"],
        load_threads=plan.threads_wrk,
        load_cpus=len(placement.load or load_cpus),
        database_cores=database["cores"] if database else None,
        database_cpus=len(placement.database or range(plan.machine_cpus)),
    )
