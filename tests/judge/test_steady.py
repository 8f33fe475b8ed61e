"""Whether a server was warm, by tables."""

import pytest

from loadtests.judge.steady import half_second_rates, is_stable, ramp_allowance_s, was_still_cold


@pytest.mark.parametrize(
    ("rates", "stable"),
    [([1000], False), ([1000, 1050], True), ([1000, 1300], False), ([1000, 800], True),
     ([98, 99, 100, 100], True), ([0, 0], False),
     ([800, 900, 980, 1000], False), ([20, 30], True)],
)  # fmt: skip
def test_a_warm_up_is_over_when_the_rate_stops_rising(rates: list[float], stable: bool) -> None:
    assert is_stable(rates) == stable


def test_half_second_rates_leave_out_the_ramp() -> None:
    assert half_second_rates([1, 1, 10, 10, 10, 10, 10, 10, 10, 10], 1, ramp_s=0.15) == pytest.approx([100, 100])


@pytest.mark.parametrize(
    ("warm_up", "measured", "cold"),
    [
        # Play in its interpreter: flat for two seconds, then three times as fast.
        ([880, 808, 900, 930], [1900, 2300, 2600, 2700, 2900, 2900], True),
        ([2000, 2000], [2100, 2200, 2300, 2400], False),
        ([2000, 2000], [3000, 3000, 2100, 2100], False),
    ],
)
def test_what_is_much_faster_than_its_warm_up_was_cold(warm_up: list[float], measured: list[float], cold: bool) -> None:
    assert was_still_cold(warm_up, measured) == cold


@pytest.mark.parametrize(
    ("first_replies_s", "seconds"),
    [([0.01, 0.05], 0), ([0.01, 0.9], 1), ([0.01, 1.9], 2), ([0.01, 60.0], 4), ([0.01], 4)],
)
def test_a_slow_ramp_gets_time_of_its_own(first_replies_s: list[float], seconds: int) -> None:
    assert ramp_allowance_s(first_replies_s, connections=2, most_s=4) == seconds
