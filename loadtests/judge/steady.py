"""When a load has become steady: the warm-up is over, and so is the ramp. Numbers in, numbers out."""

from math import ceil, sqrt
from statistics import mean

from loadtests.results.counts import WINDOW_S

# A ramp that a measurement can do without.
_SHORT_RAMP_S = 0.7
# What is faster than its warm-up by this was not warm: a runtime that compiles can stand still for a second and go on.
_STILL_COLD = 1.25
# A warm-up raises the rate; one that has risen by less than this from one second to the next is over.
_STILL_RISING = 1.05
# Half seconds of a steady rate differ by up to this much on a shared machine.
_HALF_SECONDS_DIFFER = 1.10
# Standard deviations by which two counts must differ, or few replies would look like a rise.
_CHANCE = 2


def half_second_rates(windows: list[int], seconds: int, ramp_s: float) -> list[float]:
    """Return the rate in each half second of a run from its windows of a tenth, the ramp left out of the first."""
    of_half = round(0.5 / WINDOW_S)
    padded = [*windows, *[0] * (2 * seconds * of_half)]
    halves = [padded[of_half * n : of_half * (n + 1)] for n in range(2 * seconds)]
    # A slow ramp keeps the server as busy as the load does.
    halves[0] = halves[0][min(ceil(ramp_s / WINDOW_S), of_half - 1) :]
    return [sum(half) / (len(half) * WINDOW_S) for half in halves]


def is_stable(rates: list[float]) -> bool:
    """Return whether the rate has stopped rising, from the rates of the last half seconds."""
    if len(rates) < 2 or rates[-1] == 0 or _has_risen(rates[-2:-1], rates[-1:], _HALF_SECONDS_DIFFER):
        return False
    return len(rates) < 4 or not _has_risen(rates[-4:-2], rates[-2:], _STILL_RISING)


def _has_risen(before: list[float], now: list[float], by: float) -> bool:
    """Return whether the half seconds ``now`` are above those ``before`` by more than a factor and more than chance."""
    earlier, later = sum(before) / 2, sum(now) / 2  # replies
    return later > earlier * by and later - earlier > _CHANCE * sqrt(later + earlier)


def was_still_cold(warm_up_rates: list[float], measured_rates: list[float]) -> bool:
    """Return whether a measurement was a part of the warm-up: faster than its end, by more than a machine's noise."""
    half = len(measured_rates) // 2
    return mean(measured_rates[half:]) > mean(warm_up_rates[-2:]) * _STILL_COLD


def ramp_allowance_s(first_replies_s: list[float], connections: int, most_s: int) -> int:
    """Return the whole seconds to add to a measurement so that a slow ramp does not eat it, ``most_s`` at most.

    An event loop that serves whom it has before it accepts the next may need seconds for 200 connections.
    """
    if len(first_replies_s) < connections:
        return most_s
    return min(most_s, max(0, ceil(max(first_replies_s) - _SHORT_RAMP_S)))
