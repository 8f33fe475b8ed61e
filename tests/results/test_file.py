"""The file of results: written, read back, refused."""

import json
from pathlib import Path

import pytest

from loadtests.judge.doubts import doubts
from loadtests.judge.summary import summarise
from loadtests.results import document
from loadtests.results import file as results
from loadtests.results.battle import Results
from loadtests.settings import BadSetting
from tests.results import sample


def test_the_figures_come_from_the_counts_and_the_summary_from_the_cells() -> None:
    known = Results.model_validate(sample.raw())
    assert [sample.judged_again(cell) for cell in known.cells] == known.cells
    assert summarise(known.plan, known.cells) == known.summary
    assert doubts(known) == known.doubts


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": 2}, "is of schema 2, this bench reads 3"),
        ({"state": "resting"}, "state: Input should be"),
        ({"cells": [{}]}, "cells.0.entrant: Field required"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
    ],
)
def test_what_is_not_of_the_schema_is_refused_in_one_line(change: dict[str, object], says: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps({**sample.raw(), **change}))
    with pytest.raises(BadSetting) as refusal:
        results.read(tmp_path)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_results_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    known = Results.model_validate(sample.raw())
    results.write(known, tmp_path)
    assert results.read(tmp_path) == known
    assert results.find(str(tmp_path)) == tmp_path
    (tmp_path / "results.json").write_text((tmp_path / "results.json").read_text()[:-100])
    with pytest.raises(BadSetting, match="cannot be read"):
        results.read(tmp_path)
    with pytest.raises(BadSetting, match="no results are called 'nowhere'"):
        results.find("nowhere", tmp_path)


def test_the_document_and_the_schema_are_those_of_the_types() -> None:
    """After a change of the types: make results-document."""
    assert document.PAGE.read_text() == document.page_text(document.PAGE.read_text())
    assert document.SCHEMA_FILE.read_text() == document.schema_text()


def test_a_clock_set_back_does_not_reuse_a_folder(tmp_path: Path) -> None:
    folders = [results.new_folder(tmp_path) for _ in range(3)]
    assert len(set(folders)) == 3
    assert (tmp_path / "latest").resolve() == folders[-1]
