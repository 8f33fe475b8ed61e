"""The file of results: written, read back, refused."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from loadtests.judge.doubts import doubts
from loadtests.results import file as results
from loadtests.settings import BadSetting

SAMPLE = Path(__file__).parents[1] / "data" / "results-sample.json"


@pytest.fixture
def sample() -> dict[str, Any]:
    return json.loads(SAMPLE.read_text())  # type: ignore[no-any-return]


def test_the_sample_is_of_the_schema_and_its_summary_comes_from_its_cells(sample: dict[str, Any]) -> None:
    results.validate(sample)
    again = copy.deepcopy(sample)
    results.summarise(again)
    results.validate(again)
    assert [(group["entrant"], group["column"]) for group in again["summary"]["groups"]] == [
        (group["entrant"], group["column"]) for group in sample["summary"]["groups"]
    ]
    again["warnings"] = doubts(again)
    results.validate(again)


def test_what_is_not_of_the_schema_is_refused(sample: dict[str, Any]) -> None:
    sample["cells"][0]["rate"]["ok_per_s"] = "many"
    with pytest.raises(jsonschema.ValidationError):
        results.validate(sample)


def test_results_are_read_back_as_they_were_written(sample: dict[str, Any], tmp_path: Path) -> None:
    results.write(sample, tmp_path)
    assert results.read(tmp_path) == sample
    assert results.find(str(tmp_path)) == tmp_path
    (tmp_path / "results.json").write_text((tmp_path / "results.json").read_text()[:-100])
    with pytest.raises(BadSetting, match="cannot be read"):
        results.read(tmp_path)
    with pytest.raises(BadSetting, match="no results are called 'nowhere'"):
        results.find("nowhere", tmp_path)


def test_a_clock_set_back_does_not_reuse_a_folder(tmp_path: Path) -> None:
    folders = [results.new_folder(tmp_path) for _ in range(3)]
    assert len(set(folders)) == 3
    assert (tmp_path / "latest").resolve() == folders[-1]
