"""Some of the cases of ``make faults``, on every stack; and that they find what they are there to find."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from loadtests.faults import document, soak
from loadtests.faults.arena import Arena, Finding, judge
from loadtests.faults.cases import BROKEN, CASES, EXCEPTIONS, HOLDS, NOT_APPLICABLE, PROPERTY, Case
from loadtests.faults.matrix import run_case
from loadtests.measure.observer import Request
from loadtests.results.counts import Outcome
from loadtests.stacks.catalogue import Stack, stacks
from loadtests.stacks.server import raise_open_file_limit

# They harm no server that keeps its promises, and share one.
_HARMLESS = {"pipelined", "long-heads", "malformed", "ambiguous"}


@pytest.fixture(scope="session")
def own_arena(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    raise_open_file_limit()
    made = Arena(stack, tmp_path_factory.mktemp("arena"))
    yield made
    made.stop_database()


@pytest.fixture(scope="session")
def shared_arena(own_arena: Arena) -> Iterator[Arena]:
    with own_arena.kept():
        yield own_arena


@pytest.mark.parametrize("case", [case for case in CASES.values() if case.in_tests], ids=lambda case: case.name)
def test_promises_hold(stack: Stack, case: Case, request: pytest.FixtureRequest) -> None:
    arena: Arena = request.getfixturevalue("shared_arena" if case.name in _HARMLESS else "own_arena")
    row = run_case(case, stack, arena)
    if row["verdict"] == BROKEN:
        # Promises are in seconds, and the machine may have had none to spare. What is broken breaks again.
        row = run_case(case, stack, arena)
    assert row["verdict"] in (HOLDS, PROPERTY, NOT_APPLICABLE), f"{row['finding']}\n{arena.log[-3000:]}"


def test_exceptions_name_cases_and_stacks_that_there_are() -> None:
    assert {case for case, _ in EXCEPTIONS} <= set(CASES)
    assert {stack for _, stack in EXCEPTIONS} <= set(stacks())


def request(asked_s: float, took_s: float, outcome: Outcome = Outcome.OK, status: int | None = 200) -> Request:
    return Request(asked_s, took_s, outcome, status)


@pytest.mark.parametrize(
    ("requests", "broken"),
    [
        ([request(0, 0.1), request(5, 0.1)], []),
        ([request(0, 2.1, Outcome.STATUS_5XX, 503), request(5, 0.1)], []),
        ([request(0, 6.0, Outcome.STATUS_5XX, 503), request(5, 0.1)], ["hung for 6.0 s"]),
        ([request(0, 0.1, Outcome.STATUS_5XX, 500), request(5, 0.1)], ["1 requests ended as 500"]),
        ([request(0, 0.1, Outcome.WRONG_BODY), request(5, 0.1)], ["1 requests ended as wrong_body"]),
        ([request(0, 0.1)], ["no right reply after the fault's end"]),
        ([request(5, 0.1), request(12, 0.1, Outcome.STATUS_5XX, 503)], ["not healthy 5 s after the fault's end"]),
        ([], ["no request was made", "no right reply after the fault's end"]),
    ],
)
def test_a_broken_promise_is_named(requests: list[Request], broken: list[str]) -> None:
    assert judge(requests, over_s=3.0).broken == broken


def row_of(verdict: str, why: str | None = None, **finding: Any) -> dict[str, Any]:
    found = asdict(Finding(seen="seen so", **finding)) if verdict != NOT_APPLICABLE else None
    return {"stack": "node", "case": "sigterm", "title": "", "verdict": verdict, "why": why, "finding": found}


def test_a_failing_case_is_a_row_and_not_the_end(tmp_path: Path) -> None:
    def fails(arena: Arena) -> Finding:
        raise ValueError("a case with a bug")

    row = run_case(Case("bug", "a bug", fails), stacks()["node"], Arena(stacks()["node"], tmp_path))
    assert row["verdict"] == BROKEN
    assert row["finding"]["broken"] == ["ValueError: a case with a bug"]
    json.dumps(row)


@pytest.mark.parametrize(
    ("row", "sign"),
    [
        (row_of(HOLDS), "holds"),
        (row_of(BROKEN, broken=["lost"]), "broken"),
        (row_of(PROPERTY, why="its model", broken=["lost"]), "1"),
        (row_of(NOT_APPLICABLE, why="one process"), "–"),
    ],
)
def test_the_table_has_a_sign_for_each_verdict(row: dict[str, Any], sign: str) -> None:
    table = document.matrix([row])
    assert table.head == ["what happens", "node"]
    assert table.rows == [[CASES["sigterm"].title, sign]]
    assert table.markdown().count("\n") == 2


def test_a_soak_tells_what_grows() -> None:
    samples = [soak.Sample(10.0 * n, 100 * n, 0, 50_000_000 + 10_000 * n, 30, 5) for n in range(100)]
    # 10 kB in 10 s.
    assert soak.slope_an_hour(samples, "memory_bytes") == pytest.approx(3_600_000)
    assert "0 failed" in soak.told(samples)
    assert "+3.6 MB an hour" in soak.told(samples)
