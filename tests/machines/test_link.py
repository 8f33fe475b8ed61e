"""The connection to an agent, with a program in ssh's place that answers each request with its name."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.machines.link import Address, ConnectionLost, Link
from loadtests.settings import BadSetting
from tests.harness.exchange import wait_until

_SSH = f"""#!{sys.executable}
import json, sys, time
print("Welcome", "7", "[]", '{{"id": "x"}}', '{{"id": []}}', sep="\\n", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    match request["do"]:
        case "refuse":
            reply = {{"error": "BadSetting", "text": "HOST is wrong"}}
        case "end":
            sys.exit("the other side ends")
        case "wait":
            continue
        case name:
            reply = {{"result": name}}
    print(json.dumps({{"id": request["id"], **reply}}), flush=True)
"""


@pytest.fixture
def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Link]:
    (tmp_path / "ssh").write_text(_SSH)
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    link = Link(Address.parse("ssh://other"))
    yield link
    link.close()


def test_what_a_login_script_prints_is_no_reply(link: Link) -> None:
    assert [link.ask(name) for name in ("hello", "poll")] == ["hello", "poll"]


def test_an_error_over_there_is_raised_here_by_its_name(link: Link) -> None:
    with pytest.raises(BadSetting, match="HOST is wrong"):
        link.ask("refuse")
    assert link.ask("poll") == "poll"


def test_an_answer_that_does_not_come_is_a_lost_connection(link: Link) -> None:
    begun = time.monotonic()
    with pytest.raises(ConnectionLost, match="other did not answer 'wait' within 1 s"):
        link.ask("wait", timeout_s=1)
    assert time.monotonic() - begun < 5
    with pytest.raises(ConnectionLost):
        link.ask("poll")


def test_whoever_waits_is_told_when_the_connection_ends(link: Link) -> None:
    reply = link.tell("wait")
    link.tell("end")
    with pytest.raises(ConnectionLost, match=r"ended \(ssh's status 1\): the other side ends"):
        reply.result(5)
    wait_until(lambda: link.lost, 5, "the connection's end")
