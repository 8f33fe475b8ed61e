"""From what was counted to the figures of a cell, by tables."""

from typing import Any

import pytest

from loadtests.judge import figures
from loadtests.judge.figures import jain
from loadtests.results.counts import Observation, WrkCounts
from tests.results.sample import raw, results_of

# A run without a failure; what no test here looks at is the sample's.
MEASURED = (
    results_of(raw())
    .cells[0]
    .counts.wrk.model_copy(
        update={
            "asked_s": 2,
            "duration_s": 2.0,
            "replies": 1000,
            "sent": 1210,
            "ok": 990,
            "windows_ok": [50] * 20,
            "first_replies_s": [0.01] * 10,
            "quantiles": [(0.0, 1.0), (0.5, 10.0), (0.99, 20.0), (1.0, 30.0)],
        }
    )
)


def counted(**changes: Any) -> WrkCounts:
    return MEASURED.model_copy(update=changes)


def observation(silent_closes: int = 0, ok: int = 1000, **outcomes: int) -> Observation:
    seen = {"ok": ok, **outcomes}
    return Observation(duration_s=1, replies=[ok], silent_closes=silent_closes, outcomes=seen)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lost", "seen", "losses", "by"),
    [
        (0, None, (0, 0, 0), "wrk"),
        # Nobody saw what it was: what is worst for the stack.
        (100, observation(), (0, 100, 0), "wrk and observer"),
        (100, observation(silent_closes=50), (0, 0, 100), "wrk and observer"),
        (100, observation(reset=3), (0, 100, 0), "wrk and observer"),
        (100, observation(refused=7), (100, 0, 0), "wrk and observer"),
        (100, observation(silent_closes=30, reset=10), (0, 25, 75), "wrk, shared out as the observer saw it"),
        # wrk had 1000 replies; one in ten closes, the rest of what it lost was knocking at a closed port.
        (5000, observation(silent_closes=100, refused=9), (4900, 0, 100), "wrk, shared out as the observer saw it"),
    ],
)
def test_losses_are_told_apart(lost: int, seen: Observation | None, losses: tuple[int, int, int], by: str) -> None:
    ended = figures.outcomes(counted(lost=lost), seen, 200)
    assert (ended.refused, ended.reset, ended.closed_after_reply) == losses
    assert ended.told_by == by


def test_a_close_and_requests_in_flight_are_no_failures() -> None:
    ended = figures.outcomes(counted(lost=50), observation(silent_closes=5), 200)
    assert ended.failures == {}
    assert ended.in_flight == 200
    assert ended.failed_fraction == 0


def test_each_class_is_a_failure_under_its_own_name() -> None:
    measured = counted(wrong_body=1, statuses={"404": 2, "500": 3, "503": 4}, lost=5, late=6)
    ended = figures.outcomes(measured, observation(reset=1), 200)
    assert ended.failures == {"wrong_body": 1, "404": 2, "500": 3, "503": 4, "reset": 5, "timeout": 6}
    assert ended.ok == 990 - 6
    assert ended.failed_fraction == pytest.approx(21 / (21 + 984))


def test_the_rate_leaves_out_the_ramp_and_the_window_that_was_cut_off() -> None:
    # 0.5 s of ramp with a tenth of the rate, then 100 a window, then a stump.
    measured = counted(windows_ok=[10] * 5 + [100] * 14 + [3], first_replies_s=[0.1] * 9 + [0.49])
    assert figures.rate(measured, 10).ok_per_s == 1000


def test_the_rate_counts_a_silence_of_the_server_but_not_the_pause_before_a_burst() -> None:
    bursts = [0] * 9 + [200]
    windows, quantiles = [0, *bursts, *bursts, *bursts], [(0.5, 1000.0), (1.0, 1000.0)]
    together = counted(asked_s=4, windows_ok=windows, quantiles=quantiles, first_replies_s=[0.05] * 10)
    assert figures.rate(together, 10).ok_per_s == 200
    silent = counted(asked_s=4, windows_ok=[100] * 20)
    assert figures.rate(silent, 10).ok_per_s == pytest.approx(1900 / 3.8, rel=0.01)


def test_a_connection_that_never_had_a_reply_does_not_make_the_whole_run_a_ramp() -> None:
    measured = counted(first_replies_s=[0.01] * 9)
    assert figures.ramp(measured, 10).all_answered_ms is None
    assert figures.rate(measured, 10).steady_s == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("found", "verdict"), [(None, "not counted"), (989, "less"), (990, "equal"), (1210, "equal"), (1211, "more")]
)
def test_finds(found: int | None, verdict: str) -> None:
    assert figures.finds(found, MEASURED, 200).verdict == verdict


@pytest.mark.parametrize(("counts", "index"), [([5, 5, 5], 1.0), ([9, 0, 0], 1 / 3), ([0, 0], 0.0)])
def test_jain(counts: list[int], index: float) -> None:
    assert jain(counts) == pytest.approx(index)
