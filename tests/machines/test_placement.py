"""Which CPUs each part runs on."""

import pytest

from loadtests.machines.placement import chosen_placement
from loadtests.results.battle import Placement
from loadtests.settings import BadSetting


@pytest.mark.parametrize(
    ("cpus", "placement"),
    [
        (2, Placement()),
        (3, Placement()),
        (4, Placement(server=[0, 1], database=[2], load=[3])),
        (6, Placement(server=[0, 1, 2, 3], database=[4], load=[5])),
        (8, Placement(server=[0, 1, 2, 3], database=[4, 5], load=[6, 7])),
    ],
)
def test_placement_by_default(cpus: int, placement: Placement, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CPUS_SERVER", "CPUS_DB", "CPUS_LOAD"):
        monkeypatch.delenv(name, raising=False)
    assert chosen_placement(range(cpus)) == placement


def test_placement_as_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPUS_SERVER", "0-1,3")
    assert chosen_placement(range(8)) == Placement(server=[0, 1, 3], database=None, load=None)
    monkeypatch.setenv("CPUS_SERVER", "9")
    with pytest.raises(BadSetting, match="CPUS_SERVER must name CPUs that can be used here"):
        chosen_placement(range(8))
