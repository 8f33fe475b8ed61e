"""The bench's agent: it starts, watches and stops stacks, and nothing outlives it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadtests.stacks.catalogue import named
from shared.mongod import Mongod
from shared.seed import seed
from tests.conftest import prepared
from tests.harness.exchange import wait_until
from tests.machines.network import STACK, copied_repository


class AgentByPipe:
    """An agent without ssh, as if the other machine were this one."""

    def __init__(self, folder: Path) -> None:
        self._number = 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "loadtests", "agent"],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, do: str, **details: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        self._number += 1
        self.process.stdin.write(json.dumps({"id": self._number, "do": do, **details}) + "\n")
        self.process.stdin.flush()
        reply = json.loads(self.process.stdout.readline())
        assert reply["id"] == self._number
        return reply.get("result", reply)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()


@pytest.fixture
def agent(tmp_path: Path, database_server: Mongod) -> Iterator[AgentByPipe]:
    prepared(named([STACK])[0].app)
    seed(database_server.uri, "agent")
    agent = AgentByPipe(copied_repository(tmp_path))
    yield agent
    if agent.process.poll() is None:
        agent.close()
        agent.process.wait(20)


def start_and_find(agent: AgentByPipe, uri: str) -> list[psutil.Process]:
    settings = {"MONGODB_DATABASE": "agent", "WEB_CONCURRENCY": "2"}
    agent.ask("start", stack=STACK, uri=uri, settings=settings, host="127.0.0.1")
    agent.ask("ready")

    def found() -> list[psutil.Process]:
        return psutil.Process(agent.process.pid).children(recursive=True)

    # The first worker answers while the second one is still forked.
    wait_until(lambda: len(found()) == 1 + 2, 40, "gunicorn's first process and two workers")
    return found()


def test_the_agent_starts_watches_and_stops_a_stack(agent: AgentByPipe, database_server: Mongod) -> None:
    assert agent.ask("hello")["cpus"] == sorted(os.sched_getaffinity(0))
    started = start_and_find(agent, database_server.uri)
    for step in ("begin", "sample", "end"):
        agent.ask("watch", step=step)
    assert agent.ask("watch", step="usage")["processes"] == len(started)
    assert agent.ask("watch", step="machine")["idle_s"] >= 0
    assert agent.ask("poll") is None
    assert agent.ask("stop") == 0
    assert agent.ask("poll")["error"] == "bug"
    assert agent.ask("start", stack="apache", uri="", settings={}, host="127.0.0.1")["error"] == "BadSetting"
    assert agent.ask("bell", host="192.0.2.1")["text"].startswith("HOST 192.0.2.1 is no address of that machine")
    agent.close()
    assert agent.process.wait(20) == 0
    assert not psutil.wait_procs(started, timeout=1)[1]


@pytest.mark.parametrize("end", ["its input ends", "it is killed"])
def test_nothing_outlives_the_agent(end: str, agent: AgentByPipe, database_server: Mongod) -> None:
    started = start_and_find(agent, database_server.uri)
    if end == "it is killed":
        agent.process.kill()
    else:
        agent.close()
    agent.process.wait(20)
    assert not psutil.wait_procs(started, timeout=10)[1]
