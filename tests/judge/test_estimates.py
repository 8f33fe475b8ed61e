"""Medians, intervals, noise and ties, by tables."""

import pytest

from loadtests.judge.estimates import ASSUMED_NOISE, estimate, faster_beyond_doubt, noise, ranking, ratio
from loadtests.results.battle import Estimate


def test_estimate_is_the_median_with_every_resample() -> None:
    assert estimate([3.0, 1.0, 2.0]) == Estimate(median=2.0, low=1.0, high=3.0, values=[3.0, 1.0, 2.0])
    assert estimate([7.0]) == Estimate(median=7.0, low=None, high=None, values=[7.0])
    wide = estimate([float(value) for value in range(1, 22)])
    assert wide.low is not None
    assert wide.high is not None
    assert 5 <= wide.low <= 8 <= wide.median == 11 <= 14 <= wide.high <= 17


def test_ratio_of_medians() -> None:
    found = ratio([100, 101, 99], [50, 51, 49])
    assert found.median == 0.5
    assert found.low is not None
    assert found.high is not None
    assert 0.48 < found.low < 0.5 < found.high < 0.52
    assert ratio([100], [50, 51]).low is None


def test_noise_is_the_worst_pair() -> None:
    assert noise([(100, 100), (100, 110)]) == pytest.approx(10 / 105)
    assert noise([]) == ASSUMED_NOISE


@pytest.mark.parametrize(
    ("one", "other", "beyond"),
    [
        ([110, 111, 112], [100, 101, 102], True),
        ([102, 103, 104], [100, 101, 101.5], False),  # apart, but by less than the noise
        ([99, 120, 121], [95, 100, 105], False),  # the intervals overlap
        ([120], [100], True),
        ([104], [100], False),
        ([90, 91, 92], [100, 101, 102], False),
    ],
)
def test_faster_beyond_doubt(one: list[float], other: list[float], beyond: bool) -> None:
    assert faster_beyond_doubt(estimate(one), estimate(other), noise=0.05) == beyond


def test_ranking_tells_ties() -> None:
    rows = ranking({"a": estimate([300]), "b": estimate([295]), "c": estimate([100])}, noise=0.05)
    found = [(row.rank, row.entrant, row.ties_with) for row in rows]
    assert found == [(1, "a", ["b"]), (1, "b", ["a"]), (3, "c", [])]
