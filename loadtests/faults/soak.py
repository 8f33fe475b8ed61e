"""``make soak``: one stack under a steady load for long, and whether anything grows."""

import csv
import os
import sys
import time
from dataclasses import astuple, dataclass, fields
from itertools import combinations
from statistics import mean, median

import psutil

from loadtests.measure.costs import pss_bytes
from loadtests.measure.observer import Clients, KnownLoad
from loadtests.results.counts import Outcome
from loadtests.results.file import writing
from loadtests.settings import RESULTS, BadSetting, whole_number
from loadtests.signals import Stopped, stopped_by_signals
from loadtests.stacks import toolchain
from loadtests.stacks.bodies import EXPECTED
from loadtests.stacks.catalogue import named
from loadtests.stacks.room import require_room
from loadtests.stacks.server import Server
from shared.address import database_uri
from shared.mongod import free_port
from shared.seed import require_fixtures

_SAMPLE_S = 5.0
_LINE_S = 60.0
_EACH_S = 0.2
_TIMEOUT_S = 20
# Pools fill and a runtime compiles; what grows for ever grows after that too.
_SETTLING = 0.6
_MOST_SAMPLES = 150
_INTERRUPTED = 130
_HOUR_S = 3600


@dataclass(frozen=True)
class Sample:
    """The stack at one moment; requests and failures since the start."""

    seconds: float
    requests: int
    failed: int
    memory_bytes: int
    descriptors: int
    threads: int


def soak() -> int:
    """Load the stack that STACK names for MINUTES; return 0, 1 where a request failed. Raises BadSetting."""
    if not os.environ.get("STACK"):
        raise BadSetting("say which stack: make soak STACK=gunicorn-gevent MINUTES=60")
    stack = named([os.environ["STACK"]])[0]
    minutes = whole_number("MINUTES", 60, most=10_000)
    clients = whole_number("CONNECTIONS", 20, most=10_000)
    require_room(clients, [stack])
    toolchain.prepare(stack.app)
    uri = database_uri()
    require_fixtures(uri)
    folder = RESULTS / "soak"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    samples: list[Sample] = []
    print(f"{stack.name}: {clients} clients, each every {_EACH_S:g} s, for {minutes} min", flush=True)
    server = Server(stack, uri, free_port(), log=folder / f"{stack.name}.log")
    load = KnownLoad(
        Clients(server.host, server.port, "/mongo", clients, _TIMEOUT_S, body=EXPECTED["mongo"], each_s=_EACH_S)
    )
    status = 0
    try:
        with stopped_by_signals(), server, load:
            _watch(server, load, minutes * 60, samples)
            if server.poll() is not None:
                print(f"{stack.name} ended by itself with status {server.poll()}{server.tail()}", file=sys.stderr)
                status = 1
    except Stopped:
        status = _INTERRUPTED
    print(told(samples))
    # One that was stopped at once must not take the place of one of hours.
    if len(samples) > 1:
        path = folder / f"{stack.name}.csv"
        with writing(path), path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([field.name for field in fields(Sample)])
            writer.writerows(map(astuple, samples))
        print(path)
    return status or int(any(sample.failed for sample in samples))


def told(samples: list[Sample]) -> str:
    """Return what the samples say in one line: requests, failures, and what grows by how much in an hour."""
    if len(samples) < 2:
        return "stopped before there was anything to tell"
    settled = samples[int(len(samples) * _SETTLING) :]
    last = samples[-1]
    return (
        f"{last.requests:,} requests, {last.failed:,} failed; "
        f"memory {mean(sample.memory_bytes for sample in settled) / 1e6:,.0f} MB "
        f"{slope_an_hour(settled, 'memory_bytes') / 1e6:+,.1f} MB an hour, "
        f"descriptors {last.descriptors:,} {slope_an_hour(settled, 'descriptors'):+,.0f}, "
        f"threads {last.threads:,} {slope_an_hour(settled, 'threads'):+,.0f}"
    )


def slope_an_hour(samples: list[Sample], what: str) -> float:
    """Return how much ``what`` grows in an hour: the median slope between any two samples (Theil and Sen's).

    One step is no growth: what processes share counts for each in part, so memory jumps when another program ends.
    """
    few = samples[:: max(1, len(samples) // _MOST_SAMPLES)]
    slopes = [
        (getattr(later, what) - getattr(earlier, what)) / (later.seconds - earlier.seconds)
        for earlier, later in combinations(few, 2)
    ]
    return median(slopes) * _HOUR_S if slopes else 0.0


def _watch(server: Server, load: KnownLoad, seconds: float, samples: list[Sample]) -> None:
    said_s = 0.0
    while load.now_s < seconds and server.poll() is None:
        time.sleep(min(_SAMPLE_S, max(0.0, seconds - load.now_s)))
        samples.append(_sample(server, load))
        if load.now_s - said_s >= _LINE_S:
            said_s = load.now_s
            print(f"{said_s / 60:.0f} min: {told(samples)}", file=sys.stderr, flush=True)


def _sample(server: Server, load: KnownLoad) -> Sample:
    memory = descriptors = threads = 0
    for process in server.processes():
        try:
            memory += pss_bytes(process.pid) or 0
            descriptors += process.num_fds()
            threads += process.num_threads()
        except psutil.NoSuchProcess:
            continue
    outcomes = load.outcomes
    return Sample(
        round(load.now_s, 1),
        outcomes.total(),
        outcomes.total() - outcomes[Outcome.OK],
        memory,
        descriptors,
        threads,
    )
