"""What a stack holds: thousands of waiting connections, evenly served connections, and no failed request.

Rates depend on the machine and belong to the bench; here only what must hold on any.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from loadtests.judge import figures
from loadtests.measure.observer import ask_once, observe
from loadtests.measure.wrk import Load, run
from loadtests.results.counts import Observation, Outcome, WrkCounts
from loadtests.stacks.bodies import EXPECTED, PATHS
from loadtests.stacks.catalogue import Stack
from loadtests.stacks.server import Server
from tests.conftest import StartServer

CONNECTIONS = 200
SLEEPERS = 3000
COLD_S = 5
_MORE_LOOKS = 2


@dataclass(frozen=True)
class Loaded:
    """One stack under the load of wrk, and right after it under that of the observer."""

    measured: WrkCounts
    seen: Observation


@pytest.fixture(scope="session")
def server(stack: Stack, start_server: StartServer) -> Iterator[Server]:
    """The stack as it is served, with everything that its compiler does."""
    with start_server(stack, JAVA_OPTS="") as started:
        yield started


@pytest.fixture(scope="session")
def cold(server: Server) -> Observation:
    """What each of many clients has of a server that has just been started."""
    return observe(server.host, server.port, PATHS["mongo"], CONNECTIONS, COLD_S, body=EXPECTED["mongo"])


@pytest.fixture(scope="session")
def loaded(server: Server, cold: Observation, wrk: None) -> dict[str, Loaded]:
    """Load each document once; the tests look at the same seconds.

    wrk fills the pools and lets a JVM compile, which takes it long, before the observer compares connections.
    """
    warm_s = 8 if "java" in server.stack.app.tools else 2
    return {
        endpoint: Loaded(
            run(f"{server.url}{PATHS[endpoint]}", Load(CONNECTIONS, wrk_s, timeout_s=10), EXPECTED[endpoint]),
            observe(server.host, server.port, PATHS[endpoint], CONNECTIONS, observed_s, body=EXPECTED[endpoint]),
        )
        for endpoint, wrk_s, observed_s in (("mongo", warm_s, 3), ("mongo_big", 3, 1))
    }


# The others hold a thread or a process for each sleeper.
@pytest.mark.stacks_that(applies=lambda stack: stack.model == "events")
def test_thousands_wait_at_once(server: Server, many_open_files: int) -> None:
    if many_open_files < 2 * SLEEPERS:
        pytest.skip(f"{2 * SLEEPERS} open files are needed, ulimit -Hn allows {many_open_files}")
    seen = ask_once(server.host, server.port, "/sleep?ms=3000", SLEEPERS, timeout_s=60)
    assert seen.outcomes == {Outcome.OK: SLEEPERS}


@pytest.mark.load
@pytest.mark.parametrize("endpoint", ["mongo", "mongo_big"])
def test_no_request_fails(server: Server, loaded: dict[str, Loaded], endpoint: str) -> None:
    measured, seen = loaded[endpoint].measured, loaded[endpoint].seen
    ended = figures.outcomes(measured, seen, CONNECTIONS)
    assert measured.ok > CONNECTIONS
    assert ended.failures == {}
    if server.stack.keep_alive:
        assert ended.closed_after_reply == 0
    assert seen.failed == 0


@pytest.mark.load
def test_everybody_is_served_from_the_first_second(stack: Stack, cold: Observation, start_server: StartServer) -> None:
    """Pools are empty, nothing is compiled, and each of the clients has a reply all the same."""
    if not _serves_everybody(cold):
        # The machine may have had nothing to spare: who starves clients does so at its next start.
        with start_server(stack, JAVA_OPTS="") as again:
            cold = observe(again.host, again.port, PATHS["mongo"], CONNECTIONS, COLD_S, body=EXPECTED["mongo"])
    assert _serves_everybody(cold), (cold.unanswered, cold.outcomes, cold.served, cold.longest_gap_s)


def _serves_everybody(seen: Observation) -> bool:
    return seen.unanswered == seen.failed == 0


# Where each connection is closed after its reply there is none to favour.
@pytest.mark.load
@pytest.mark.stacks_that(applies=lambda stack: stack.keep_alive)
def test_connections_are_served_evenly(server: Server, loaded: dict[str, Loaded]) -> None:
    seen = loaded["mongo"].seen
    for _ in range(_MORE_LOOKS):
        if _evenly(seen):
            break
        # The machine may have had nothing to spare for some seconds. Who is unfair is unfair again.
        seen = observe(server.host, server.port, PATHS["mongo"], CONNECTIONS, 5, body=EXPECTED["mongo"])
    assert _evenly(seen), (seen.served, seen.longest_gap_s)
    assert seen.failed == 0


def _evenly(seen: Observation) -> bool:
    # docs/contract.md promises half of the median and 1 s; two busy cores are given some room.
    least, middle, _ = seen.served
    return least >= 0.4 * middle and seen.longest_gap_s <= 2
