"""Whole battles of known servers: what fails is a result, what is stopped goes on, nothing is left behind."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadtests.battle.rounds import Watcher, passed
from loadtests.machines import leftovers
from loadtests.measure.database import Database, DatabaseGone
from loadtests.results import file as results
from loadtests.results.battle import Entrant
from loadtests.results.cell import Column
from loadtests.results.file import CannotWrite
from loadtests.settings import ROOT
from loadtests.stacks.bodies import WrongReply
from shared import mongod
from shared.mongod import Mongod, free_port
from shared.seed import seed
from tests.battle.known_battle import DATABASE, known_battle, known_entrant, known_plan, two_that_answer
from tests.harness.exchange import wait_until

pytestmark = [pytest.mark.usefixtures("wrk"), pytest.mark.xdist_group("known battles")]

_DEADLINE_S = 40
_WRK = "loadtests/measure/wrk.lua"
# In the environment of all that a test starts: other tests have servers and a wrk of their own meanwhile.
_MARK = "KNOWN_BATTLE"


@pytest.fixture(scope="module")
def uri(database_server: Mongod) -> str:
    seed(database_server.uri, DATABASE)
    return database_server.uri


@pytest.fixture(autouse=True)
def _marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_MARK, str(tmp_path))


@pytest.fixture
def fighting(tmp_path: Path, uri: str) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start a battle in a process of its own; it is killed at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.battle.known_battle", str(tmp_path), uri]
        started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def cells(folder: Path) -> list[dict[str, Any]]:
    path = folder / "fight" / "results.json"
    return json.loads(path.read_text())["cells"] if path.exists() else []


def running(file: str = "tests/battle/known_server.py") -> list[psutil.Process]:
    """Return the processes of this test that were given this file of the project."""
    path = str(ROOT / file)
    found = []
    for process in psutil.process_iter():
        try:
            if any(path in word for word in process.cmdline()) and process.environ().get(_MARK) == os.environ[_MARK]:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_crash_a_wrong_body_and_a_missing_tool_do_not_stop_the_others(tmp_path: Path, uri: str) -> None:
    class Tool(Watcher):
        given_up_on: list[str] = []  # noqa: RUF012

        def given_up(self, entrant: Entrant, why: str) -> None:
            self.given_up_on.append(entrant.label)

    entrants = [
        known_entrant("dies", label="crashes"),
        known_entrant("always-wrong", label="wrong"),
        known_entrant("no-such-behaviour", label="never starts"),
        known_entrant("fixed", label="cannot be set up", setup=("false",)),
        known_entrant("finds", label="good"),
        known_entrant("finds", label="good [again]", repeats="good"),
    ]
    battle = known_battle(known_plan(entrants, rounds=2), tmp_path, uri, Tool())
    battle.fight()
    found = results.read(battle.folder)
    assert found.state == "complete"
    assert [cell.entrant for cell in found.cells].count("good") == 2
    reasons = {(failure.entrant, failure.fault): failure.reason for failure in found.failed}
    assert "ended by itself with status 3" in reasons["crashes", "stack"]
    assert "wrong body at byte" in reasons["wrong", "stack"]
    assert "at its start" in reasons["never starts", "stack"]
    tail = next(failure.log_tail for failure in found.failed if failure.entrant == "crashes")
    assert "known server: dying as it was told to" in tail
    # What cannot start is not started again; what crashed under load is, in the next round.
    assert Tool.given_up_on.count("never starts") == 1
    assert Tool.given_up_on.count("crashes") == 2
    assert [entry.entrant for entry in found.skipped] == ["cannot be set up"]
    assert "`false` failed" in found.skipped[0].reason
    assert [pair.entrant for pair in found.summary.noise] == ["good"]
    assert [row.entrant for row in found.summary.ranking[0].rows] == ["good"]
    assert not passed(found)
    assert battle.missing() == 0


@pytest.mark.parametrize("trouble", ["ports", "processes", "memory"])
def test_what_runs_out_on_this_machine_is_no_failure_of_the_stack(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    killed = [0]

    def fail(*_: object) -> None:
        if trouble == "processes":
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        killed[0] += trouble == "memory"
        try:
            raise OSError(errno.EADDRNOTAVAIL if trouble == "ports" else errno.ECONNREFUSED, "")
        except OSError:
            raise WrongReply("/mongo: no reply") from None

    monkeypatch.setattr("loadtests.battle.rounds.measure_cell", fail)
    monkeypatch.setattr("loadtests.battle.rounds.killed_for_memory", lambda: killed[0])
    battle = known_battle(known_plan([known_entrant("fixed")]), tmp_path, uri)
    battle.fight()
    (failure,) = results.read(battle.folder).failed
    assert failure.fault == "bench" and f"ran out of {'client ' * (trouble == 'ports')}{trouble}" in failure.reason


def test_a_latency_column_is_measured_with_the_delay_and_leaves_none_behind(tmp_path: Path, uri: str) -> None:
    slow = Column(endpoint="mongo", connections=20, db_latency_ms=30)
    columns = [Column(endpoint="mongo", connections=20), slow]
    battle = known_battle(known_plan([known_entrant("finds", finds_each=100)], columns), tmp_path, uri)
    battle.fight()
    plain, delayed = (cell.figures for cell in results.read(battle.folder).cells)
    assert plain.alone_ms and delayed.alone_ms and delayed.ceiling
    assert plain.alone_ms.median < 15 < 30 < delayed.alone_ms.median
    assert delayed.ceiling.per_s == pytest.approx(20 / 0.030, abs=0.01)
    assert delayed.rate.ok_per_s < delayed.ceiling.per_s
    with Database(uri) as database:
        articles = database._client[DATABASE]["articles"]
        # The quickest of some: others may have the processor.
        assert min(_seconds(articles.find_one) for _ in range(5)) < 0.03


def _seconds(do: Callable[[], object]) -> float:
    begun = time.monotonic()
    do()
    return time.monotonic() - begun


def test_kill_9_in_a_cell_then_resume(tmp_path: Path, uri: str, fighting: Callable[[], subprocess.Popen[str]]) -> None:
    first = fighting()
    wait_until(lambda: cells(tmp_path), _DEADLINE_S, "the first cell")
    wait_until(lambda: running(_WRK) and running(), _DEADLINE_S, "load")
    kept = cells(tmp_path)
    first.kill()
    first.wait()
    second = fighting()
    assert second.wait(90) == 0
    after = cells(tmp_path)
    # Those that were finished are the same to the byte, and none is there twice.
    assert after[: len(kept)] == kept
    keys = [(cell["entrant"], cell["round"]) for cell in after]
    assert sorted(keys) == sorted({(name, number) for name in ("fixed", "finds") for number in (1, 2)})
    assert not running()
    assert not running(_WRK)
    assert not list(tmp_path.glob(".running.json"))


def test_leftovers_are_ended_and_others_are_not(tmp_path: Path) -> None:
    run = leftovers.Run(tmp_path)
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    ours = subprocess.Popen(sleeping, env={**os.environ, **run.environment}, start_new_session=True)
    leader = subprocess.Popen(sleeping, start_new_session=True)
    other = subprocess.Popen(sleeping, start_new_session=True)
    try:
        run.started(leader.pid)
        ended = leftovers.end_leftovers(tmp_path)
        assert len(ended) == 2
        assert ours.wait(5) == -signal.SIGKILL
        assert leader.wait(5) == -signal.SIGKILL
        assert other.poll() is None
        assert leftovers.end_leftovers(tmp_path) == []
    finally:
        for process in (ours, leader, other):
            process.kill()
            process.wait()


def test_a_session_whose_leaders_number_was_used_again_is_not_ours(tmp_path: Path) -> None:
    run = leftovers.Run(tmp_path)
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        run.started(other.pid)
        state = json.loads((tmp_path / ".running.json").read_text())
        state["sessions"][0]["started_ticks"] -= 1
        (tmp_path / ".running.json").write_text(json.dumps(state))
        assert leftovers.end_leftovers(tmp_path) == []
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_ctrl_c_stops_within_five_seconds_and_leaves_nothing(
    tmp_path: Path, fighting: Callable[[], subprocess.Popen[str]]
) -> None:
    process = fighting()
    wait_until(lambda: running(_WRK) and running(), _DEADLINE_S, "load")
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert time.monotonic() - asked < 5
    assert not running()
    assert not running(_WRK)
    results.read(tmp_path / "fight")


def test_a_killed_wrk_is_the_benchs_fault_and_is_measured_again(tmp_path: Path, uri: str) -> None:
    def kill_wrk() -> None:
        (wrk,) = running(_WRK)
        wrk.kill()

    class Killer(Watcher):
        killed = False

        def stage(self, entrant: Entrant, round_number: int, what: str) -> None:
            if "connections for" in what and not self.killed:
                self.killed = True
                threading.Timer(0.4, kill_wrk).start()

    plan = known_plan([known_entrant("fixed")])
    battle = known_battle(plan, tmp_path, uri, Killer())
    battle.fight()
    (failure,) = results.read(battle.folder).failed
    assert failure.fault == "bench"
    assert failure.reason == "wrk was killed by SIGKILL"
    assert battle.missing() == 1
    battle.results.failed.clear()
    battle.fight()
    assert battle.missing() == 0


def test_mongod_killed_in_a_cell_is_not_the_stacks_fault(tmp_path: Path) -> None:
    server = mongod.start(tmp_path / "mongod", free_port())
    seed(server.uri, DATABASE)

    class Killer(Watcher):
        def stage(self, entrant: Entrant, round_number: int, what: str) -> None:
            if what == "fairness":
                os.kill(server.pid, signal.SIGKILL)

    battle = known_battle(known_plan([known_entrant("finds")]), tmp_path, server.uri, Killer())
    with pytest.raises(DatabaseGone, match="start it, then go on with RESUME=latest"):
        battle.fight()
    (failure,) = results.read(battle.folder).failed
    assert failure.fault == "bench"
    assert "mongod ended" in failure.reason
    assert not running()


def test_two_battles_at_once_are_refused(tmp_path: Path) -> None:
    with leftovers.alone(tmp_path):
        command = (
            "import pathlib, sys\nfrom loadtests.machines import leftovers\n"
            f"with leftovers.alone(pathlib.Path({str(tmp_path)!r})): sys.exit()"
        )
        other = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert "another battle runs here" in other.stderr


def test_results_that_cannot_be_written_are_said_in_one_line(tmp_path: Path, uri: str) -> None:
    battle = known_battle(two_that_answer(), tmp_path, uri)
    (battle.folder / "results.json.new").mkdir()
    with pytest.raises(CannotWrite, match=r"results.json cannot be written to: Is a directory"):
        battle.fight()
    assert not running()


def test_a_folder_that_is_no_folder_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(CannotWrite, match="cannot be written to"), leftovers.alone(tmp_path / "results"):
        pass
    with pytest.raises(CannotWrite, match="cannot be written to"):
        results.new_folder(tmp_path / "results")
