"""locust as several processes: a master with its workers, and a browser that looks on."""

import csv
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen
from typing import Any

import psutil
import pytest
from pymongo import MongoClient

from loadtests.settings import ROOT
from loadtests.stacks.catalogue import named
from shared.documents import Document
from shared.mongod import Mongod, free_port
from tests.conftest import StartServer, prepared
from tests.harness.browser import chromium
from tests.harness.exchange import finds, wait_until
from tests.scenarios.running import ENDS_WITHIN_S, newest_summary, started

pytestmark = pytest.mark.xdist_group("locust")


@pytest.fixture(scope="module")
def served(start_server: StartServer) -> Iterator[Any]:
    """One stack for the tests that need any."""
    stack = named(["gunicorn-gthread"])[0]
    prepared(stack.app)
    with start_server(stack, WEB_CONCURRENCY="1") as server:
        yield server


@contextmanager
def master_and_two_workers(target: str, uri: str, run_time: str) -> Iterator[tuple[str, list[Popen[str]]]]:
    """Run 30 users, some of whom sleep for 1.5 s; yields where the master is, and the three processes."""
    at = f"127.0.0.1:{free_port()}"
    variables = {
        "TARGET": target, "MONGODB_URI": uri, "LOCUST_MASTER_BIND_PORT": at.split(":")[1], "LOCUST_EXPECT_WORKERS": "2",
        "LOCUST_USERS": "30", "LOCUST_SPAWN_RATE": "60", "LOCUST_THINK_TIME": "0.05-0.2", "LOCUST_SLEEP_MS": "1500",
        "LOCUST_RUN_TIME": run_time,
    }  # fmt: skip
    with (
        started("locust-master", **variables) as master,
        started("locust-worker", MASTER=at) as first,
        started("locust-worker", MASTER=at) as second,
    ):
        yield at, [master, first, second]


def test_two_workers_count_what_mongod_counts(
    served: Any, database_server: Mongod, mongo: MongoClient[Document]
) -> None:
    """Also the replies that are under way when the time is up: sleepers wait for 1.5 s here."""
    before = finds(mongo)
    with master_and_two_workers(served.url, database_server.uri, "4s") as (_, (master, first, second)):
        output, _ = master.communicate(timeout=ENDS_WITHIN_S)
        assert master.returncode == 0, output
        assert first.wait(20) == second.wait(20) == 0
    _, summary = newest_summary("master")
    # Before the run each document was asked for twice.
    counted = finds(mongo) - before - 4
    assert summary["finds"] == {"counted": counted, "replies": counted, "verdict": "equal"}
    assert summary["workers"] == {"joined": 2, "lost": 0} and len(summary["load_generators"]) == 2
    asleep = next(entry for entry in summary["requests"] if entry["name"] == "/sleep")
    assert asleep["requests"] >= 3


def test_a_worker_dies_and_another_joins_late(
    served: Any, database_server: Mongod, mongo: MongoClient[Document]
) -> None:
    """The run goes on with all its users, and what the dead one had reported stays counted."""
    before = finds(mongo)
    with master_and_two_workers(served.url, database_server.uri, "11s") as (at, (master, first, doomed)):
        wait_until(lambda: finds(mongo) - before > 50, 30, "load on the database")
        for process in psutil.Process(doomed.pid).children(recursive=True):
            process.kill()
        assert doomed.wait(20) != 0
        with started("locust-worker", MASTER=at) as late:
            output, _ = master.communicate(timeout=ENDS_WITHIN_S)
            assert master.returncode == 0, output
            assert first.wait(20) == late.wait(20) == 0
    assert "does not answer any more" in output
    folder, summary = newest_summary("master")
    assert summary["workers"] == {"joined": 3, "lost": 1}
    with (folder / "locust_stats_history.csv").open() as file:
        users = [int(row["User Count"]) for row in csv.DictReader(file) if row["Name"] == "Aggregated"]
    assert 30 in users[-4:], users
    asked = summary["finds"]
    assert asked["verdict"] == "more"
    # What the dead one lost is what it counted in its last second, and what it had asked for.
    assert asked["counted"] - asked["replies"] < 0.15 * asked["counted"]
    assert "1 worker died" in " ".join(doubt["text"] for doubt in summary["doubts"])


def test_the_web_page_shows_the_running_test(served: Any, database_server: Mongod) -> None:
    web_port, port = free_port(), free_port()
    variables = {"LOCUST_WEB_PORT": str(web_port), "PORT": str(port), "MONGODB_URI": database_server.uri,
                 "MONGODB_DATABASE": served.database, "LOCUST_THINK_TIME": "0.1-0.3", "LOCUST_USERS": "17"}  # fmt: skip
    with started("locust-ui", "gunicorn-gthread", **variables) as process, chromium() as browser:
        wait_until(lambda: listens_on_loopback_only(web_port), 30, "locust's page")
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{web_port}/")
        page.get_by_role("button", name="Start", exact=False).first.click()
        for text in ("/mongo_big", "Running", "17"):
            page.get_by_text(text).first.wait_for(timeout=20_000)
        page.screenshot(path=str(ROOT / "results" / "locust" / "web-page.png"))
        process.send_signal(signal.SIGINT)
        assert process.wait(ENDS_WITHIN_S) == 0


def listens_on_loopback_only(port: int) -> bool:
    addresses = [entry.laddr for entry in psutil.net_connections("tcp") if entry.status == "LISTEN" and entry.laddr]
    hosts = {address.ip for address in addresses if address.port == port}
    assert hosts <= {"127.0.0.1"}
    return bool(hosts)
