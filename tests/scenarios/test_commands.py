"""``make locust-NAME`` and its relatives: what they say, write down and leave behind."""

import csv
import json
import signal

import pytest

from loadtests.settings import authority
from loadtests.stacks.catalogue import Stack
from shared.mongod import Mongod
from shared.seed import seed
from tests.conftest import LOOPBACKS
from tests.harness.exchange import loadtests, wait_until
from tests.scenarios.articles import ArticleServer
from tests.scenarios.running import ENDS_WITHIN_S, newest_summary, started

pytestmark = pytest.mark.xdist_group("locust")


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("LOCUST_THINK_TIME", "5-1", "must be seconds such as 2 or 1-5, not '5-1'"),
        ("LOCUST_BIG_SHARE", "all", "must be an integer from 1 to 99, not 'all'"),
        ("LOCUST_FEED_RATE", "0", "must be requests a second, more than 0, not '0'"),
        ("LOCUST_USERS", "many", "LOCUST_USERS must be an integer from 1 to 1000000, not 'many'"),
        ("LOCUST_RUN_TIME", "soon", "LOCUST_RUN_TIME must be a duration such as 30s or 2m, not 'soon'"),
        ("LOCUST_PROCESSES", "0", "LOCUST_PROCESSES must be an integer from 1 to 256, not '0'"),
        ("TARGET", "127.0.0.1", "TARGET must be an address such as http://127.0.0.1:5000, not '127.0.0.1'"),
        ("TARGET", "http://[::1", "TARGET must be an address such as http://127.0.0.1:5000, not 'http://[::1'"),
        ("TARGET", "http://user:hu/sh@127.0.0.1", "TARGET must be an address such as http://127.0.0.1:5000, with no"),
        ("TARGET", "http://127.0.0.1:1", "nothing answers at http://127.0.0.1:1"),
    ],
)
def test_a_bad_value_is_one_line_and_status_2(variable: str, value: str, says: str) -> None:
    done = loadtests("locust", **{variable: value})
    assert done.returncode == 2
    assert says in done.stderr and "sh@" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.load
def test_the_users_of_a_master_are_on_other_machines() -> None:
    """On this one there is no room for as many."""
    for command, says in (("locust", "LOCUST_USERS=1000000 needs"), ("locust-master", "TARGET must be")):
        done = loadtests(command, LOCUST_USERS="1000000", TARGET="x")
        assert done.returncode == 2 and says in done.stderr


def test_the_limit_of_locust_is_measured_beside_wrk(wrk: None) -> None:
    done = loadtests("locust-limit", DURATION="1s", ROUNDS="1", ENDPOINTS="mongo")
    assert done.returncode == 0, done.stderr
    rates = {
        line[:34].strip(): int(line[34:42].replace(",", "")) for line in done.stdout.splitlines() if "/mongo" in line
    }
    assert len(rates) == 3
    # Not how fast this machine is, but who is the faster one.
    assert rates["/mongo      wrk, 1 thread"] > 2 * rates["/mongo      locust, 1 process"] > 200


def test_every_stack_serves_the_scenario(stack: Stack, database_server: Mongod) -> None:
    """``make locust-NAME``: no failure, as many finds as replies, locust's report and CSV files there."""
    name = f"locust_{stack.name.replace('-', '_')}"
    seed(database_server.uri, name)
    done = loadtests(
        "locust", stack.name,
        MONGODB_URI=database_server.uri, MONGODB_DATABASE=name, PORT="", HOST=LOOPBACKS[-1], LOCUST_TOKEN="hush",
        LOCUST_USERS="60", LOCUST_RUN_TIME="2s", LOCUST_SPAWN_RATE="100",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    folder, summary = newest_summary(stack.name)
    assert summary["passed"] and summary["stack"] == stack.name and authority(LOOPBACKS[-1], "") in summary["target"]
    assert "LOCUST_USERS=60" in summary["command"] and "hush" not in json.dumps(summary)
    assert summary["finds"]["verdict"] == "equal" and summary["finds"]["replies"] > 20
    assert {entry["name"] for entry in summary["requests"]} == {"/mongo", "/mongo_big", "/sleep"}
    assert "<html" in (folder / "report.html").read_text()
    with (folder / "locust_stats.csv").open() as file:
        counts = {row["Name"]: int(row["Request Count"]) for row in csv.DictReader(file)}
    assert counts.pop("Aggregated") == sum(counts.values()) == sum(summary["outcomes"].values())


def test_a_failed_check_fails_the_command(articles: ArticleServer) -> None:
    articles.fault = "body"
    done = loadtests("locust", TARGET=articles.url, LOCUST_USERS="10", LOCUST_RUN_TIME="2s", LOCUST_THINK_TIME="0.05",
                     LOCUST_TAGS="small", LOCUST_SPAWN_RATE="10")  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "wrong body: not the document" in done.stdout
    _, summary = newest_summary("target")
    assert not summary["passed"] and summary["outcomes"]["wrong_body"] == articles.faults


def test_ctrl_c_keeps_the_report_and_leaves_nothing(articles: ArticleServer) -> None:
    variables = {"TARGET": articles.url, "LOCUST_USERS": "10", "LOCUST_RUN_TIME": "60s", "LOCUST_PROCESSES": "2"}
    with started("locust", **variables) as process:
        wait_until(lambda: articles.asked["/mongo"] > 20, 30, "load")
        process.send_signal(signal.SIGINT)
        assert process.wait(ENDS_WITHIN_S) == 130
    _, summary = newest_summary("target")
    assert summary["state"] == "stopped"
    # Each document was asked for twice before the run, and /sleep once.
    assert summary["outcomes"]["ok"] == articles.asked.total() - 5
    assert summary["workers"] == {"joined": 2, "lost": 0}
