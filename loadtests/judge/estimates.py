"""How sure: medians with intervals, the noise that an A/A pair shows, ties and ranks. Numbers in, numbers out."""

import random
from collections.abc import Sequence
from itertools import product
from statistics import median

from loadtests.results.battle import Estimate, Row

STATISTICS = (
    "Median of the repeats; 95 % percentile bootstrap of the median: every resample up to 5 repeats, 10,000 above."
)
# What is taken for the noise where no entrant was measured twice: about the most that A/A pairs differ by on a shared
# machine, so that a quick look claims little.
ASSUMED_NOISE = 0.15
_RESAMPLES = 10_000
_ALL_RESAMPLES_UP_TO = 5
_TAIL = 0.025


def estimate(values: Sequence[float]) -> Estimate:
    """Return the median of ``values`` (one at least) and its percentile-bootstrap interval."""
    if len(values) == 1:
        return Estimate(median=values[0], low=None, high=None, values=list(values))
    low, high = _interval(_medians(values))
    return Estimate(median=median(values), low=low, high=high, values=list(values))


def ratio(before: Sequence[float], after: Sequence[float]) -> Estimate:
    """Return median(after) / median(before) with the interval that resampling both gives. No value may be zero."""
    value = median(after) / median(before)
    if min(len(before), len(after)) == 1:
        return Estimate(median=value, low=None, high=None)
    # The two runs are independent, so each median of one may go with each of the other.
    if max(len(before), len(after)) < _ALL_RESAMPLES_UP_TO:
        pairs = list(product(_medians(before), _medians(after)))
    else:
        pairs = list(zip(_medians(before, _RESAMPLES), _medians(after, _RESAMPLES, seed=1), strict=True))
    low, high = _interval([second / first for first, second in pairs])
    return Estimate(median=value, low=low, high=high)


def difference(first: float, second: float) -> float:
    """Return how far two figures are apart, as a fraction of their mean."""
    mean = (first + second) / 2
    return abs(first - second) / mean if mean else 0.0


def noise(pairs: Sequence[tuple[float, float]]) -> float:
    """Return the largest difference within A/A pairs: what the same thing measured twice can differ by."""
    return max((difference(first, second) for first, second in pairs), default=ASSUMED_NOISE)


def faster_beyond_doubt(one: Estimate, other: Estimate, noise: float) -> bool:
    """Return whether ``one`` is above ``other``: intervals apart, and medians further apart than the noise.

    With a single value on either side there is no interval, and the noise alone decides.
    """
    if one.median <= other.median or difference(one.median, other.median) <= noise:
        return False
    if one.low is None or other.high is None:
        return True
    return one.low > other.high


def ranking(estimates: dict[str, Estimate], noise: float) -> list[Row]:
    """Return rows of rank, entrant and the entrants that it ties with, fastest median first.

    A rank is 1 more than the number of those that are faster beyond doubt.
    """

    def faster(one: str, other: str) -> bool:
        return faster_beyond_doubt(estimates[one], estimates[other], noise)

    rows = []
    for name in sorted(estimates, key=lambda name: -estimates[name].median):
        others = [other for other in estimates if other != name]
        rows.append(
            Row(
                rank=1 + sum(faster(other, name) for other in others),
                entrant=name,
                ties_with=[other for other in others if not faster(other, name) and not faster(name, other)],
            )
        )
    return rows


def _medians(values: Sequence[float], at_random: int = 0, seed: int = 0) -> list[float]:
    if not at_random and len(values) <= _ALL_RESAMPLES_UP_TO:
        return [median(resample) for resample in product(values, repeat=len(values))]
    rng = random.Random(seed)
    return [median(rng.choices(values, k=len(values))) for _ in range(at_random or _RESAMPLES)]


def _interval(resampled: list[float]) -> tuple[float, float]:
    resampled.sort()
    beyond = int(_TAIL * len(resampled))
    return resampled[beyond], resampled[-1 - beyond]
