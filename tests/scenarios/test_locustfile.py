"""The locust file counts what happened, and says when it is itself the limit."""

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from loadtests.machines.description import describe
from loadtests.scenarios.command import FILES
from loadtests.scenarios.generator import LoadGenerator
from loadtests.scenarios.limit import instant_articles
from loadtests.scenarios.summary import summarise
from loadtests.settings import ROOT
from shared.mongod import free_port
from tests.scenarios.articles import BODIES, ArticleServer
from tests.scenarios.running import ENDS_WITHIN_S

pytestmark = pytest.mark.xdist_group("locust")


def locust(
    folder: Path, url: str, *options: str, seconds: int = 1, **variables: str
) -> tuple[int, dict[str, Any], str]:
    """Run locust headless and return its exit status, its recorder's record and what it wrote."""
    record = folder / "record.json"
    record.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "locust", "-f", FILES, "--host", url, "--headless", "--only-summary",
         "-t", f"{seconds}s",
         "--stop-timeout", "20", "--record", str(record), *options],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True, text=True, timeout=ENDS_WITHIN_S,
    )  # fmt: skip
    return done.returncode, json.loads(record.read_text()) if record.exists() else {}, done.stdout + done.stderr


def summary_of(record: dict[str, Any], finds: int | None = None) -> dict[str, Any]:
    run = dict.fromkeys(("id", "started", "command", "target"), "any")
    return summarise(record, finds, environment=describe([], ""), state="complete", stack=None, **run).model_dump()


FAULTS = {
    "503": ("status_5xx", "status 503"),
    "404": ("status_4xx", "status 404"),
    "body": ("wrong_body", "wrong body: not the document"),
    "no reply": ("reset", "reset before a complete reply"),
    "half a reply": ("reset", "reset before a complete reply"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_counts_each_failure_once_and_by_its_kind(fault: str, articles: ArticleServer, tmp_path: Path) -> None:
    articles.fault = fault
    outcome, name = FAULTS[fault]
    status, record, output = locust(
        tmp_path, articles.url, "-u", "10", "-r", "10", "--think-time", "0.01-0.03", "--tags", "small", "big",
        # Else the first reply says what is right, and that may be the wrong one here.
        LOCUST_SMALL_SHA256=sha256(BODIES["/mongo"]).hexdigest(),
        LOCUST_BIG_SHA256=sha256(BODIES["/mongo_big"]).hexdigest(),
    )  # fmt: skip
    assert status == 1, output
    asked = articles.asked["/mongo"] + articles.asked["/mongo_big"]
    outcomes = summary_of(record)["outcomes"]
    assert outcomes[outcome] == articles.faults > 3
    assert outcomes["ok"] == asked - articles.faults
    assert sum(outcomes.values()) == asked == record["total"]["requests"]
    assert [failure["what"] for failure in record["failures"]] == [name]


def test_a_close_after_a_complete_reply_is_no_failure(articles: ArticleServer, tmp_path: Path) -> None:
    articles.fault = "close"
    status, record, output = locust(tmp_path, articles.url, "-u", "10", "-r", "10", "--think-time", "0.02-0.04",
                                    "--tags", "small")  # fmt: skip
    assert status == 0, output
    assert articles.faults > 3
    assert record["total"]["requests"] == articles.asked["/mongo"]


def test_counts_a_server_that_is_not_there(tmp_path: Path) -> None:
    status, record, _ = locust(tmp_path, f"http://127.0.0.1:{free_port()}", "-u", "2", "-r", "2", "--think-time", "0.1")
    summary = summary_of(record)
    assert status == 1
    assert summary["outcomes"]["connect"] == record["total"]["requests"] > 0
    assert not summary["passed"]


def test_the_locust_file_stands_alone(articles: ArticleServer, tmp_path: Path) -> None:
    """Copied out of the repository it needs locust and nothing else, and takes a --config file."""
    (tmp_path / "locustfile.py").write_bytes(Path(FILES.split(",")[0]).read_bytes())
    (tmp_path / "articles.conf").write_text(
        f"host = {articles.url}\nheadless = true\nusers = 20\nspawn-rate = 20\nrun-time = 2s\nthink-time = 0.1-0.2\n"
        "big-share = 50\nsleep-ms = 30\nonly-summary = true\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-m", "locust", "--config", "articles.conf"],
        cwd=tmp_path, capture_output=True, text=True, timeout=ENDS_WITHIN_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert articles.asked["/mongo"] and articles.asked["/sleep"]
    share = articles.asked["/mongo_big"] / (articles.asked["/mongo"] + articles.asked["/mongo_big"])
    assert 0.3 < share < 0.6


def test_the_mix_is_locusts_own(articles: ArticleServer, tmp_path: Path) -> None:
    """Kinds of users by name, requests by tag, shares by option or variable."""
    locust(tmp_path, articles.url, "-u", "4", "-r", "4", "Sleeper", LOCUST_SLEEP_MS="20", LOCUST_THINK_TIME="0.05")
    assert set(articles.asked) == {"/sleep"}
    articles.asked.clear()
    locust(tmp_path, articles.url, "-u", "10", "-r", "10", "--think-time", "0.05", LOCUST_TAGS="big")
    assert set(articles.asked) == {"/mongo_big"}


def test_feeds_ask_at_their_rate_whatever_the_server_does(articles: ArticleServer, tmp_path: Path) -> None:
    status, record, output = locust(
        tmp_path, articles.url, "-u", "5", "-r", "5", "--feed-rate", "10", "Feed", seconds=4
    )
    assert status == 0, output
    rate = (len(articles.when) - 1) / (articles.when[-1] - articles.when[0])
    assert rate == pytest.approx(50, rel=0.1)
    assert record["total"]["requests"] == len(articles.when)


def test_bursts_come_only_when_asked_for(articles: ArticleServer, tmp_path: Path) -> None:
    options = ("-u", "4", "-r", "4", "--think-time", "0.1", "--tags", "small")
    _, quiet, _ = locust(tmp_path, articles.url, *options)
    assert quiet["users"] == 4
    status, record, output = locust(tmp_path, articles.url, *options, "--burst", "5", "--burst-period", "3", seconds=4)
    assert status == 0, output
    assert record["users"] == 20


def test_says_when_one_process_is_near_its_limit() -> None:
    idle = [0.0] * 6
    busy_at_the_start = LoadGenerator(cores=[0.97, 0.3, 0.2, 0.2, 0.3, 0.2], waiting=idle)
    assert busy_at_the_start.limit is None
    saturated = LoadGenerator(cores=[0.5, 0.9, 0.97, 0.96], waiting=idle[:4])
    assert "used 0.97 of the one core" in str(saturated.limit)
    crowded_out = LoadGenerator(cores=[0.3, 0.4, 0.4, 0.4], waiting=[0.1, 0.5, 0.6, 0.5])
    assert "had no CPU for up to 60% of a second" in str(crowded_out.limit)


@pytest.mark.load
def test_warns_in_the_run_when_locust_is_the_limit(tmp_path: Path) -> None:
    options = ("-u", "50", "-r", "50", "--think-time", "0", "--tags", "small", "Reader")
    with instant_articles() as url:
        _, record, output = locust(tmp_path, url, *options, seconds=5)
    assert "locust, not the server, is near its limit" in output
    assert "locust was near its limit" in summary_of(record)["doubts"][0]["text"]
