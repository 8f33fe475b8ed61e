"""What there is to doubt about results is said, with what helps."""

from typing import Any

import pytest

from loadtests.judge.doubts import KINDS, doubts, with_setting
from loadtests.results.battle import Results
from tests.results.sample import results_of


def doubtful(sample: dict[str, Any]) -> Results:
    """Return the sample with everything there is to doubt about one machine."""
    for cell in sample["cells"]:
        cell["figures"]["machine"] |= {"steal": 0.05, "others": 0.3}
        cell["figures"]["cost"]["bench_cores"] = 0.2
        cell["counts"]["warm_up"]["stable"] = False
        cell["figures"]["finds"] |= {"counted": 1, "verdict": "less"}
    first, second = (cell["figures"] for cell in sample["cells"][:2])
    first["machine"]["mhz"], second["machine"]["mhz"] = 2000.0, 3000.0
    first["cost"]["load"]["cores"] = 0.88
    first["ramp"]["answered"] -= 7
    first["ceiling"] = {"per_s": 1.0, "slots": 1, "text": "1 a second at most"}
    results = results_of(sample)
    (noise, *others) = results.summary.noise
    noisy = [noise.model_copy(update={"difference": 0.12}), *others]
    results.summary = results.summary.model_copy(update={"noise": noisy})
    return results


def test_doubts_are_said(sample: dict[str, Any]) -> None:
    quiet = {doubt.about for doubt in doubts(results_of(sample))}
    assert quiet == {"placement", "repeats", "failures", "fairness", "environment"}
    loud = {doubt.about for doubt in doubts(doubtful(sample))}
    assert loud - quiet == {
        *("a/a", "steal", "load by others", "frequency", "bench", "load generator", "warm-up", "ramp", "finds"),
        "ceiling",
    }


def test_every_doubt_but_unfairness_has_a_remedy(sample: dict[str, Any]) -> None:
    """Who is served how evenly is the stack's own: nothing that one types changes it."""
    assert {doubt.about for doubt in doubts(doubtful(sample)) if not doubt.remedy} == {"fairness"}
    assert len({kind.arises for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize(
    ("typed", "about", "remedy"),
    [
        ("make battle STACKS=node", "warm-up", "Type make battle STACKS=node DURATION=8s"),
        ("make battle DURATION=4s", "warm-up", "Type make battle DURATION=4s ROUNDS=4"),
        ("make battle DURATION=4s ROUNDS=2", "warm-up", "Take a machine with more to spare"),
        ("make battle DURATION=4s", "ramp", "Take a machine with more to spare, or ask for fewer CONNECTIONS."),
        ("make battle", "a/a", "Type make battle ROUNDS=4"),
        ('make battle CONNECTIONS="200 1000" ROUNDS=2', "a/a", 'CONNECTIONS="200 1000" ROUNDS=2 DURATION=8s'),
        ("make battle-quick", "repeats", "Type make battle ROUNDS=3"),
        ("make battle", "load generator", "Type make battle THREADS_WRK=2"),
    ],
)
def test_the_remedy_knows_what_was_typed(sample: dict[str, Any], typed: str, about: str, remedy: str) -> None:
    sample["command"] = typed
    (found,) = {doubt.remedy for doubt in doubts(doubtful(sample)) if doubt.about == about}
    assert found is not None
    assert remedy in found


def test_a_setting_takes_the_place_of_its_old_value() -> None:
    command = 'make battle CONNECTIONS="200 1000" ROUNDS=3'
    assert with_setting(command, "CONNECTIONS", "10") == "make battle ROUNDS=3 CONNECTIONS=10"
