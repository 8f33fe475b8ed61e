"""The locust file counts what happened, says when it is itself the limit, and runs on one machine and on many."""

import asyncio
import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymongo import MongoClient

from loadtests.scenarios.generator import LoadGenerator
from loadtests.scenarios.limit import instant_articles
from loadtests.scenarios.summary import summarise, validate
from loadtests.settings import ROOT
from loadtests.stacks.catalogue import Stack, named
from shared.documents import Document, big, extended_json, small
from shared.mongod import Mongod, free_port
from shared.system_packages import Unavailable, require
from tests.conftest import IN_CI, StartServer

pytestmark = pytest.mark.xdist_group("locust")

LOCUST_FILE = ROOT / "loadtests" / "scenarios" / "locustfile.py"
BODIES = {"/mongo": extended_json(small()), "/mongo_big": extended_json(big())}
_ENDS_WITHIN_S = 60


class ArticleServer:
    """Answers as a stack does, without a database, except that every tenth request to /mongo meets a ``fault``."""

    def __init__(self) -> None:
        self.fault = ""
        self.asked: Counter[str] = Counter()
        self.faults = 0
        self.when: list[float] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(5)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1000))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if not await self._answer(head.split(b" ", 2)[1].decode(), writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _answer(self, target: str, writer: asyncio.StreamWriter) -> bool:
        path, _, query = target.partition("?")
        self.asked[path] += 1
        self.when.append(time.monotonic())
        status, body, kept = "200 OK", BODIES.get(path, b'{"error":"not found"}'), True
        if path == "/sleep":
            ms = int(query.removeprefix("ms="))
            await asyncio.sleep(ms / 1000)
            body = b'{"slept_ms":%d}' % ms
        if self.fault and path == "/mongo" and self.asked[path] % 10 == 0:
            self.faults += 1
            match self.fault:
                case "503":
                    status, body = "503 Service Unavailable", b'{"error":"database unavailable"}'
                case "404":
                    status, body = "404 Not Found", b'{"error":"no document"}'
                case "body":
                    body = body.replace(b"foo", b"bar")
                case "no reply":
                    return False
                case "half a reply":
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n{")
                    await writer.drain()
                    return False
                case "close":
                    kept = False
                case "never":
                    await asyncio.sleep(60)
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        return kept


@pytest.fixture
def articles() -> Iterator[ArticleServer]:
    server = ArticleServer()
    server.start()
    yield server
    server.stop()


def locust(
    folder: Path, url: str, *options: str, seconds: int = 1, **variables: str
) -> tuple[int, dict[str, Any], str]:
    """Run locust headless and return its exit status, its recorder's record and what it wrote."""
    record = folder / "record.json"
    record.unlink(missing_ok=True)
    files = f"{LOCUST_FILE},{LOCUST_FILE.with_name('recorder.py')}"
    done = subprocess.run(
        [sys.executable, "-m", "locust", "-f", files, "--host", url, "--headless", "--only-summary",
         "-t", f"{seconds}s",
         "--stop-timeout", "20", "--record", str(record), *options],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True, text=True, timeout=_ENDS_WITHIN_S,
    )  # fmt: skip
    return done.returncode, json.loads(record.read_text()) if record.exists() else {}, done.stdout + done.stderr


def summary_of(record: dict[str, Any], finds: int | None = None) -> dict[str, Any]:
    return summarise(record, finds, target="http://127.0.0.1:1", stack=None)


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
    (tmp_path / "locustfile.py").write_bytes(LOCUST_FILE.read_bytes())
    (tmp_path / "articles.conf").write_text(
        f"host = {articles.url}\nheadless = true\nusers = 20\nspawn-rate = 20\nrun-time = 2s\nthink-time = 0.1-0.2\n"
        "big-share = 50\nsleep-ms = 30\nonly-summary = true\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-m", "locust", "--config", "articles.conf"],
        cwd=tmp_path, capture_output=True, text=True, timeout=_ENDS_WITHIN_S,
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
        ("TARGET", "http://127.0.0.1:1", "nothing answers at http://127.0.0.1:1"),
    ],
)
def test_a_bad_value_is_one_line_and_status_2(variable: str, value: str, says: str) -> None:
    done = loadtests("locust", **{variable: value})
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


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
    assert "locust was near its limit" in summary_of(record)["warnings"][0]["text"]


@pytest.mark.load
def test_the_limit_of_locust_is_measured_beside_wrk(wrk: None) -> None:
    done = loadtests("locust-limit", DURATION="1s", ROUNDS="1", ENDPOINTS="mongo")
    assert done.returncode == 0, done.stderr
    rates = {
        line[:34].strip(): int(line[34:42].replace(",", "")) for line in done.stdout.splitlines() if "/mongo" in line
    }
    assert len(rates) == 3
    # Not how fast this machine is, but who is the faster one.
    assert rates["/mongo      wrk, 1 thread"] > 2 * rates["/mongo      locust, 1 process"] > 200


def loadtests(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m loadtests``, as the Makefile does."""
    return subprocess.run(
        [sys.executable, "-m", "loadtests", *arguments],
        cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, timeout=_ENDS_WITHIN_S,
    )  # fmt: skip


def newest_summary(name: str) -> tuple[Path, dict[str, Any]]:
    # Other tests' folders may be newer, and "play-blocking" begins as "play" does.
    of_this_name = [
        path for path in (ROOT / "results" / "locust").iterdir() if re.fullmatch(rf".*Z-{name}(-\d+)?", path.name)
    ]
    folder = max(of_this_name, key=lambda path: path.stat().st_mtime)
    summary = json.loads((folder / "summary.json").read_text())
    validate(summary)
    return folder, summary


def test_every_stack_serves_the_scenario(stack: Stack, database_server: Mongod) -> None:
    """``make locust-NAME``: no failure, as many finds as replies, locust's report and CSV files there."""
    done = loadtests(
        "locust", stack.name,
        MONGODB_URI=database_server.uri, MONGODB_DATABASE=f"locust_{stack.name.replace('-', '_')}", PORT="",
        LOCUST_USERS="60", LOCUST_RUN_TIME="2s", LOCUST_SPAWN_RATE="100",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    folder, summary = newest_summary(stack.name)
    assert summary["passed"] and summary["stack"] == stack.name
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
        wait_until(lambda: articles.asked["/mongo"] > 20)
        process.send_signal(signal.SIGINT)
        assert process.wait(_ENDS_WITHIN_S) == 130
    _, summary = newest_summary("target")
    assert summary["state"] == "stopped"
    # Each document was asked for twice before the run, and /sleep once.
    assert summary["outcomes"]["ok"] == articles.asked.total() - 5
    assert summary["workers"] == {"joined": 2, "lost": 0}


@contextmanager
def started(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``python -m loadtests`` meanwhile; nothing that it started may be left when it has ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "loadtests", *arguments],
        cwd=ROOT, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    children: list[psutil.Process] = []
    try:
        yield process
        with_children = psutil.Process(process.pid) if process.poll() is None else None
        children = with_children.children(recursive=True) if with_children else []
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(_ENDS_WITHIN_S)
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive


def wait_until(condition: Callable[[], object], within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "did not come about in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def served(start_server: StartServer) -> Iterator[Any]:
    """One stack for the tests that need any."""
    from tests.conftest import prepared

    stack = named(["gunicorn-gthread"])[0]
    prepared(stack.app)
    with start_server(stack, WEB_CONCURRENCY="1") as server:
        yield server


def finds(mongo: MongoClient[Document]) -> int:
    return int(mongo.admin.command("serverStatus")["metrics"]["commands"]["find"]["total"])


def master_and_workers(port: int, target: str) -> dict[str, str]:
    return {
        "TARGET": target, "LOCUST_MASTER_BIND_PORT": str(port), "LOCUST_EXPECT_WORKERS": "2", "LOCUST_USERS": "30",
        "LOCUST_SPAWN_RATE": "60", "LOCUST_THINK_TIME": "0.05-0.2", "LOCUST_SLEEP_MS": "1500",
    }  # fmt: skip


def test_two_workers_count_what_mongod_counts(
    served: Any, database_server: Mongod, mongo: MongoClient[Document]
) -> None:
    """Also the replies that are under way when the time is up: sleepers wait for 1.5 s here."""
    port = free_port()
    variables = {**master_and_workers(port, served.url), "MONGODB_URI": database_server.uri}
    before = finds(mongo)
    with (
        started("locust-master", **variables, LOCUST_RUN_TIME="4s") as master,
        started("locust-worker", MASTER=f"127.0.0.1:{port}") as first,
        started("locust-worker", MASTER=f"127.0.0.1:{port}") as second,
    ):
        output, _ = master.communicate(timeout=_ENDS_WITHIN_S)
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
    port = free_port()
    variables = {**master_and_workers(port, served.url), "MONGODB_URI": database_server.uri}
    before = finds(mongo)
    with (
        started("locust-master", **variables, LOCUST_RUN_TIME="11s") as master,
        started("locust-worker", MASTER=f"127.0.0.1:{port}") as first,
        started("locust-worker", MASTER=f"127.0.0.1:{port}") as doomed,
    ):
        wait_until(lambda: finds(mongo) - before > 50)
        for process in psutil.Process(doomed.pid).children(recursive=True):
            process.kill()
        assert doomed.wait(20) != 0
        with started("locust-worker", MASTER=f"127.0.0.1:{port}") as late:
            output, _ = master.communicate(timeout=_ENDS_WITHIN_S)
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
    assert "1 worker died" in " ".join(warning["text"] for warning in summary["warnings"])


def test_the_web_page_shows_the_running_test(served: Any, database_server: Mongod) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    try:
        require(["chromium"])
    except Unavailable as reason:
        if IN_CI:
            raise
        pytest.skip(str(reason))
    web_port, port = free_port(), free_port()
    variables = {"LOCUST_WEB_PORT": str(web_port), "PORT": str(port), "MONGODB_URI": database_server.uri,
                 "MONGODB_DATABASE": served.database, "LOCUST_THINK_TIME": "0.1-0.3", "LOCUST_USERS": "17"}  # fmt: skip
    with started("locust-ui", "gunicorn-gthread", **variables) as process, playwright.sync_playwright() as driver:
        wait_until(lambda: listens_on_loopback_only(web_port))
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=_CHROMIUM_FLAGS)
        try:
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{web_port}/")
            page.get_by_role("button", name="Start", exact=False).first.click()
            page.get_by_text("/mongo_big").first.wait_for(timeout=20_000)
            page.get_by_text("Running", exact=False).first.wait_for(timeout=20_000)
            users = page.get_by_text("17").first
            users.wait_for(timeout=20_000)
            page.screenshot(path=str(ROOT / "results" / "locust" / "web-page.png"))
        finally:
            browser.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(_ENDS_WITHIN_S) == 0


_CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def listens_on_loopback_only(port: int) -> bool:
    addresses = [entry.laddr for entry in psutil.net_connections("tcp") if entry.status == "LISTEN" and entry.laddr]
    hosts = {address.ip for address in addresses if address.port == port}
    assert hosts <= {"127.0.0.1"}
    return bool(hosts)
