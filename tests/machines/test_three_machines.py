"""Load, server and database on three machines: network namespaces here, with a real sshd between the first two."""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from loadtests.machines.agent import SILENCE_S
from loadtests.stacks.catalogue import named
from tests.conftest import prepared, skipped_without_its_tools
from tests.harness.exchange import wait_until
from tests.machines.network import STACK, Network, three_machines

pytestmark = pytest.mark.xdist_group("battles of this clone")

_COMES_WITHIN_S = 90


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    prepared(named([STACK])[0].app)
    with ExitStack() as cleanup:
        with skipped_without_its_tools():
            network = cleanup.enter_context(three_machines(tmp_path_factory.mktemp("three")))
        yield network


def test_the_bench_runs_here_and_the_stack_there(network: Network) -> None:
    with network.battle(ENDPOINTS="mongo", DURATION="2s", DB_LATENCY_MS="0") as battle:
        wait_until(lambda: network.server.connections() > 15, _COMES_WITHIN_S, "load on the server")
        listening = {address for address in network.server.listens() if address[1] != 22}
        assert {host for host, _ in listening} == {network.server.address}
        assert battle.ended() == 0, battle.output
    results = battle.results()
    machines = results.machines
    assert machines and machines.database
    assert machines.listens_at == network.server.address
    assert machines.database.cpus_online == os.cpu_count()
    for _, trip in machines.round_trip_ms:
        assert 0 < trip.least <= trip.median <= trip.most
        assert trip.median < 50
    (cell,) = results.cells
    assert cell.figures.outcomes.ok > 20 and cell.figures.finds.verdict == "equal"
    assert cell.figures.cost.server.cores > 0 and cell.counts.server.processes >= 2
    assert cell.figures.cost.database is None
    assert network.server.address in cell.counts.wrk.command
    assert "whoever reaches that address is served" in battle.output
    assert network.server.is_idle()


def test_a_lost_connection_fails_the_cell_and_no_more(network: Network) -> None:
    """The cell says why, the stack stops by itself, and when the other machine is back the battle goes on there."""
    with network.battle(ENDPOINTS="mongo mongo_big", DURATION="4s") as battle:
        wait_until(lambda: network.server.connections() > 15, _COMES_WITHIN_S, "load on the server")
        network.connected(network.client, False)
        try:
            wait_until(network.server.is_idle, SILENCE_S + 10, "the stack's end")
            wait_until(lambda: "failed:" in battle.output, _COMES_WITHIN_S, "the cell's end")
        finally:
            network.connected(network.client, True)
        assert battle.ended() == 1, battle.output
    results = battle.results()
    (failure,) = results.failed
    assert failure.fault == "bench" and failure.column and failure.column.endpoint == "mongo"
    assert network.server.address in failure.reason
    assert [cell.column.endpoint for cell in results.cells] == ["mongo_big"]
    assert results.state == "complete"
    with network.battle(RESUME=results.id) as again:
        assert again.ended() == 0, again.output
    assert {cell.column.endpoint for cell in again.results().cells} == {"mongo", "mongo_big"}
    assert network.server.is_idle()
