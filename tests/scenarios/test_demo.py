"""The story of make demo-sleep: its arithmetic, and the whole of it on real servers."""

import re
import time

import pytest

from loadtests.scenarios.demo import RUNS, TOLERANCE, Heard, off
from tests.harness.exchange import loadtests

_MOST_S = 60


def test_predictions_are_littles_law() -> None:
    assert [(run.predicted_per_s, run.predicted_s) for run in RUNS] == [(1, 1), (1, 2), (2, 1), (1, 1), (200, 1)]


def test_a_second_is_counted_to_the_last_reply_and_not_to_the_end_of_wrk() -> None:
    assert Heard(replies=8, last_s=8.02, median_s=1.0, threads=2).per_s == pytest.approx(1, abs=0.01)
    assert Heard(replies=0, last_s=0, median_s=0, threads=2).per_s == 0


def test_more_than_a_tenth_from_the_prediction_is_off() -> None:
    assert not off(1.09, 1)
    assert off(0.89, 1)
    assert off(0, 1)


@pytest.mark.load
def test_the_story_comes_true_within_a_minute(wrk: None) -> None:
    began = time.monotonic()
    told = loadtests("demo-sleep")
    took_s = time.monotonic() - began
    assert told.returncode == 0, told.stdout + told.stderr
    lines = re.findall(r"(predicted|measured) +([\d.]+) replies a second, ([\d.]+) s each", told.stdout)
    assert len(lines) == 2 * len(RUNS)
    for (_, *predicted), (_, *measured) in zip(lines[::2], lines[1::2], strict=True):
        for said, came in zip(predicted, measured, strict=True):
            assert float(came) == pytest.approx(float(said), rel=TOLERANCE)
    assert took_s < _MOST_S
