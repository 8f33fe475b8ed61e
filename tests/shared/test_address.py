"""What is read from a connection string, what is shown of it, and what is kept of what other programs say."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.machines.description import describe
from loadtests.settings import ROOT
from loadtests.stacks.catalogue import apps, stacks
from loadtests.stacks.server import Server
from shared.address import Address, BadAddress
from shared.said import without_secrets

_SECRETS = ("hush", "1234", "secret")


def _command(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT, env={**os.environ, "MONGODB_DATABASE": "", **variables}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("mongodb://user:hu#sh@127.0.0.1:1/shop", "mongodb://127.0.0.1:1/shop"),
        ("mongodb://user:h[ush@127.0.0.1:1/shop", "mongodb://127.0.0.1:1/shop"),
        ("mongodb://us%40er:hu%2Fsh@a.example:1,[::1]:2/shop.hush", "mongodb://a.example:1,[::1]:2/shop"),
        ("mongodb://127.0.0.1:1/?tls=true&tlsCertificateKeyFilePassword=hush", "mongodb://127.0.0.1:1/articles"),
        ("mongodb://h/?authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:hush", "mongodb://h/articles"),
        ("mongodb://h/shop?unknown=hush&tlsCAFile=/hush", "mongodb://h/shop"),
        ("mongodb+srv://user:hush@cluster.invalid/shop", "mongodb+srv://cluster.invalid/shop"),
    ],
)  # fmt: skip
def test_scheme_hosts_and_database_are_all_that_is_shown(uri: str, shown: str) -> None:
    for command in ("status", "up"):
        said = _command("shared", command, MONGODB_URI=uri)
        assert said.returncode == 0 and said.stderr == ""
        assert said.stdout.endswith(f": {shown}\n")


_CANNOT_BE_PARSED = [
    "mongodb://user:hush/1234@127.0.0.1/shop",
    "mongodb://user:1234/hush@127.0.0.1/shop",
    "mongodb://user:1234?hush@127.0.0.1/shop",
    "mongodb://user:hush@secret@127.0.0.1/shop",
    "mongodb://user:hush:secret@127.0.0.1/shop",
    "mongodb://user:hush%@127.0.0.1/shop",
    "mongodb://user:hush@127.0.0.1:notaport/shop",
    "mongodb://user:hush@127.0.0.1/shop?secret",
    "mongodb://user:hush@127.0.0.1/shop\nsecret",
    "user:hush@127.0.0.1",
]


@pytest.mark.parametrize("uri", _CANNOT_BE_PARSED)
def test_nothing_is_shown_of_what_cannot_be_parsed(uri: str) -> None:
    with pytest.raises(BadAddress, match=r"^MONGODB_URI must be a MongoDB connection string[^\n]*$") as refusal:
        Address.parse(uri)
    assert not any(secret in str(refusal.value) for secret in _SECRETS)


@pytest.mark.parametrize(
    "command",
    ["shared up", "shared status", "shared seed", "loadtests run node", "loadtests wrk node", "loadtests locust node",
     "loadtests battle"],
)  # fmt: skip
@pytest.mark.xdist_group("battles of this clone")
def test_each_command_says_so_in_one_line(command: str) -> None:
    said = _command(*command.split(), MONGODB_URI=_CANNOT_BE_PARSED[1])
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (2, "", 1), said
    assert "MONGODB_URI must be" in said.stderr and "1234" not in said.stderr


@pytest.mark.parametrize(
    "options", ["tlsCAFile=/hush", "w=0&journal=true", "unknown=hush&minPoolSize=5&maxPoolSize=2", "unknown=hush"]
)
def test_what_the_driver_says_of_options_is_not_quoted(options: str) -> None:
    said = _command("shared", "seed", MONGODB_URI=f"mongodb://127.0.0.1:1/?{options}")
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (2, "", 1), said
    assert "hush" not in said.stderr


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Picked up JAVA_TOOL_OPTIONS: -Dhttps.proxyPassword=hush\nstarted", "started"),
        ("NOTE: Picked up JDK_JAVA_OPTIONS: -Dx=hush", ""),
        ("cannot connect to mongodb+srv://u:hu/sh@h/?x=hush: refused", "cannot connect to mongodb+srv://*** refused"),
        ("Looking in https://user:hu/sh@pypi.example/simple", "Looking in https://***@pypi.example/simple"),
        ("env: {'AWS_SECRET_ACCESS_KEY': 'hush'}", "env: {'AWS_SECRET_ACCESS_KEY': ***"),
        ("-Dhttps.proxyPassword=hush -Xmx1g", "-Dhttps.proxyPassword=***"),
        ("config: {'password': 'hush and hush', 'x': 1}\nbye", "config: {'password': ***\nbye"),
        ("//npm.example/:_auth=hush", "//npm.example/:_auth=***"),
        ("Authorization: Bearer hush", "Authorization: ***"),
        ("x-api-key: hush", "x-api-key: ***"),
        ("KeyError: 'articles'", "KeyError: 'articles'"),
        ("Address already in use: 127.0.0.1:5000", "Address already in use: 127.0.0.1:5000"),
    ],
)
def test_what_others_say_is_kept_without_secrets(said: str, kept: str) -> None:
    assert without_secrets(said) == kept


def test_the_tail_of_a_log_has_no_secrets(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("Picked up JAVA_TOOL_OPTIONS: -Dhttps.proxyPassword=hush\nno: mongodb://u:hush@h/\nbye\n")
    server = Server(stacks()["node"], "mongodb://127.0.0.1:1", 1, log=log)
    assert server.tail() == "\n    no: mongodb://***\n    bye"


def test_a_server_gets_no_options_that_its_jvm_would_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Dhttps.proxyPassword=hush")
    log = tmp_path / "server.log"
    server = Server(replace(stacks()["node"], command="env"), "mongodb://127.0.0.1:1", 1, log=log)
    server.start()
    assert server.wait() == 0
    assert "PORT=1" in log.read_text() and "hush" not in log.read_text()


@pytest.mark.parametrize("program", ["java", "node", "wrk"])
def test_a_version_is_a_version(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A JVM that is given options by the environment names them, with their passwords, before its version."""
    says = {"java": 'openjdk version "17.0.15" 2025-04-15', "node": "v24.1.0", "wrk": "wrk debian/4.1.0 [epoll] hush"}
    fake = tmp_path / program
    fake.write_text(f"#!/bin/sh\necho 'Picked up JAVA_TOOL_OPTIONS: hush' >&2\necho '{says[program]}' >&2\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("shared.nodejs.programs", lambda: None)
    app = {"java": "play_app", "node": "node_app"}.get(program, "node_app")
    assert describe([apps()[app]], "6.0.5").versions[program] == says[program].removeprefix("wrk ").partition(" [")[0]
