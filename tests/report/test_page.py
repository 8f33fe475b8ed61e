"""The report's words and figures, from results that went well and results that did not."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadtests.report import answers, article
from loadtests.report.example import write_example
from loadtests.report.page import doubts, figures
from loadtests.report.reading import columns
from loadtests.settings import BadSetting
from tests.harness.exchange import loadtests
from tests.report import samples
from tests.results.sample import raw, results_of

Results = dict[str, Any]
_MOST_BYTES = 2_000_000


@pytest.mark.parametrize("sample", samples.ALL)
def test_every_section_is_there_and_nothing_leads_to_the_network(sample: Callable[[], Results]) -> None:
    text = samples.rendered(sample.__name__)
    ids = re.findall(r'<section id="([a-z]+)"', text)
    assert ids == ["answer", "requests", "latency", "cost", "slow", "verdicts", "faults", "article", "repeat"]
    anchors = re.findall(r'href="#([^"]+)"', text)
    assert anchors
    assert all(f' id="{anchor}"' in text for anchor in anchors)
    assert not re.findall(r'(?:src|href)="(?!#|data:|\.\./)[^"]*"', text)
    assert "<script" not in text
    assert len(text.encode()) < _MOST_BYTES


def test_make_report_prints_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(samples.stopped_before_the_first_cell().model_dump_json(by_alias=True))
    done = loadtests("report", RESULTS=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    written = Path(done.stdout.splitlines()[-1])
    assert written == tmp_path / "report.html"
    assert written.read_text().startswith("<!doctype html>")


def test_make_report_of_nothing_says_what_to_give(tmp_path: Path) -> None:
    done = loadtests("report", RESULTS=str(tmp_path / "none"))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "latest" in done.stderr


def test_a_row_leads_to_the_apps_folder_and_to_its_launch_command() -> None:
    text = samples.rendered("usual")
    assert '<a href="../../flask_app/">gunicorn-gevent</a>' in text
    assert '<a href="#run-gunicorn-gevent"><code>make run-gunicorn-gevent</code></a>' in text
    assert 'id="run-gunicorn-gevent"' in text


def test_a_tie_is_called_a_tie_and_a_lower_bound_at_least() -> None:
    small, _ = answers.headlines(samples.usual())
    assert "node and gunicorn-gevent tie for first" in small
    assert "(at least, for node)" in small
    sample = raw()
    for cell in sample["cells"]:
        if (cell["entrant"], cell["column"]["endpoint"]) == ("node", "mongo_big"):
            cell["figures"]["rate"]["ok_per_s"] *= 2
    _, big = answers.headlines(results_of(sample))
    assert "node is fastest" in big


def test_who_fails_is_not_recommended() -> None:
    for answer in answers.choices(samples.nothing_but_failures()):
        assert "gunicorn-sync" not in answer.stacks


def test_the_slow_database_names_who_is_held_at_its_ceiling() -> None:
    slow = answers.choices(samples.usual())[1]
    assert "gunicorn-sync" in slow.why
    assert "gunicorn-sync" not in slow.stacks


def test_without_a_latency_column_there_is_no_answer_for_it() -> None:
    results = samples.without_latency_column()
    assert answers.choices(results)[1].stacks == []
    [slow] = figures(results)["slow"]
    assert slow.chart is None
    assert "DB_LATENCY_MS" in slow.note


def test_what_was_not_reached_is_not_called_free_of_failures() -> None:
    text = samples.rendered("stopped_in_round_one")
    assert "None of 0 requests" not in text
    assert "this plan added no latency" not in samples.rendered("stopped_before_the_first_cell")


def test_a_single_repeat_is_a_first_look() -> None:
    results = samples.single_repeat()
    assert "no interval" in answers.how_sure(results)
    ranking = figures(results)["answer"][0].table
    assert {row[3] for row in ranking.rows} == {"one repeat"}


def test_crashed_skipped_and_unfinished_are_said_at_the_top() -> None:
    said = " ".join(doubts(samples.usual()))
    assert "tornado failed in round 2" in said
    assert "play was not measured: java missing" in said
    assert "uncommitted" in said
    assert "Not complete (stopped): 0 of" in " ".join(doubts(samples.stopped_before_the_first_cell()))


def test_every_warning_of_the_bench_is_said() -> None:
    results = samples.usual()
    assert {str(doubt) for doubt in results.doubts} <= set(doubts(results))


def test_figures_agree_with_the_results() -> None:
    results = samples.as_in_2014()
    for figure in figures(results)["requests"]:
        if figure.id == "successes-mongo":
            measured = {(row[0], row[1]): row[2] for row in figure.table.rows}
    for group in results.summary.groups:
        if group.column in columns(results, "mongo") and not group.entrant.endswith("[again]"):
            shown = measured[group.entrant, f"{group.column.connections:,}"]
            assert shown.removeprefix("≥ ") == f"{group.ok_per_s.median:,.0f}"


def test_the_articles_read_errors_are_complete_replies() -> None:
    run = article.counterpart("uwsgi-threads", "mongo", 200, many_workers=False)
    assert run
    assert article.ends(run) == {"right": 3, "closed": 24709, "status": 0, "lost": 0, "late": 45}
    assert any("drawn as failed" in sentence for sentence in article.what_was_wrong(run))


def test_every_run_of_the_article_is_in_its_figures_with_what_was_wrong() -> None:
    shown = [row for figure in figures(samples.usual())["article"] for row in figure.table.rows]
    assert len(shown) == len(article.article()["runs"])
    assert all(row[-1] for row in shown)


def test_an_example_has_the_report_its_picture_and_its_noise(tmp_path: Path) -> None:
    write_example(samples.single_repeat(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "ranking.svg", "report.html"]
    assert "<svg" in (tmp_path / "ranking.svg").read_text()
    said = (tmp_path / "README.md").read_text()
    assert "Smaller differences mean nothing" in said
    assert all(doubt in said for doubt in doubts(samples.single_repeat()))


def test_an_example_needs_figures(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="no figure yet"):
        write_example(samples.stopped_before_the_first_cell(), tmp_path)
