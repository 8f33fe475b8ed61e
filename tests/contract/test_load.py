"""What a stack holds: thousands of waiting connections, evenly served connections, and no failed request.

Rates depend on the machine and belong to the bench; here only what must hold on any.
"""

import pytest

from loadtests.judge import figures
from loadtests.measure.observer import ask_once, observe
from loadtests.measure.wrk import Load, run
from loadtests.results.counts import Outcome
from loadtests.stacks.bodies import EXPECTED
from loadtests.stacks.server import Server

pytestmark = pytest.mark.load

CONNECTIONS = 200
SLEEPERS = 3000


# The others hold a thread or a process for each sleeper.
@pytest.mark.stacks_that(applies=lambda stack: stack.model == "events")
def test_thousands_wait_at_once(server: Server, many_open_files: int) -> None:
    if many_open_files < 2 * SLEEPERS:
        pytest.skip(f"{2 * SLEEPERS} open files are needed, ulimit -Hn allows {many_open_files}")
    seen = ask_once(server.host, server.port, "/sleep?ms=3000", SLEEPERS, timeout_s=60)
    assert seen.outcomes == {Outcome.OK: SLEEPERS}


@pytest.mark.usefixtures("wrk")
@pytest.mark.parametrize(("path", "endpoint"), [("/mongo", "mongo"), ("/mongo_big", "mongo_big")])
def test_no_request_fails(server: Server, path: str, endpoint: str) -> None:
    measured = run(f"{server.url}{path}", Load(CONNECTIONS, duration_s=4, timeout_s=10), EXPECTED[endpoint])
    seen = observe(server.host, server.port, path, CONNECTIONS, 2, body=EXPECTED[endpoint])
    ended = figures.outcomes(measured, seen, CONNECTIONS)
    assert measured.ok > CONNECTIONS
    assert ended.failures == {}
    if server.stack.keep_alive:
        assert ended.closed_after_reply == 0
    assert seen.failed == 0


# Where each connection is closed after its reply there is none to favour.
@pytest.mark.stacks_that(applies=lambda stack: stack.keep_alive)
def test_connections_are_served_evenly(server: Server) -> None:
    # The pools fill and a JVM compiles before anybody is compared.
    observe(server.host, server.port, "/mongo", CONNECTIONS, 3)
    seen = observe(server.host, server.port, "/mongo", CONNECTIONS, 5)
    least, middle, _ = seen.served
    # docs/contract.md promises half of the median; two busy cores are given some room.
    assert least >= 0.4 * middle, seen.served
    assert seen.longest_gap_s <= 2
    assert seen.failed == 0
