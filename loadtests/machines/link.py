"""A connection over ssh to the bench's agent on another machine (loadtests/machines/agent.py).

It is OpenSSH's own program: whoever can log in with it, by whatever agent, jump host or configuration, can use SERVER.
execnet would take over the frames and asyncssh the login. What this file is about would still be ours: a word every
two seconds from both sides, a deadline for each answer, errors by name, the set-up's output, login scripts that print.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from loadtests.machines.agent import ERRORS, SILENCE_S
from loadtests.settings import ROOT, BadSetting
from loadtests.stacks.processes import die_with_parent
from loadtests.stacks.server import DRAIN_TIMEOUT_S

_PING_EVERY_S = 2.0
# ssh asks the other side this often, and gives up after so many questions without an answer.
_ALIVE_EVERY_S, _ALIVE_COUNT = 2, 3
CONNECT_TIMEOUT_S = 10
# `make` there may have to set up the project first, and a stack's set-up may build it.
SET_UP_TIMEOUT_S = 1800.0
ANSWER_TIMEOUT_S = 20.0


class ConnectionLost(Exception):
    """The connection to the other machine broke, or it does not answer. The message is one line."""


class Unreachable(Exception):
    """The other machine cannot be reached, or the bench cannot run there. The message is one line."""


@dataclass(frozen=True)
class Address:
    """``ssh://user@host:port/path``: where ssh goes, and the folder of the repository there."""

    destination: str
    host: str
    port: int | None
    path: str

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Return what ``text`` says. Raises BadSetting."""
        # The text is not quoted: somebody may have put a password there.
        example = "SERVER must be such as ssh://user@10.0.0.2 or ssh://user@10.0.0.2:22/home/user/battle"
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise BadSetting(example) from None
        host = parts.hostname or ""
        safe = re.compile(r"[A-Za-z0-9_.:][A-Za-z0-9_.:%-]*")
        named_well = all(safe.fullmatch(part) for part in (host, parts.username or "x"))
        if parts.scheme != "ssh" or not named_well or parts.password or parts.query or parts.fragment:
            raise BadSetting(example)
        path = parts.path.removeprefix("/~/") if parts.path.rstrip("/") else str(ROOT)
        return cls(f"{parts.username}@{host}" if parts.username else host, host, port, path)

    def command(self) -> list[str]:
        """Return the command that runs the agent there. SSH_OPTIONS are put before the destination."""
        # The repository sets itself up there as it does here; what that prints must not be taken for replies.
        set_up = "make --silent .venv/.ready </dev/null >&2"
        run = ".venv/bin/python -m loadtests agent"
        there = f"cd {shlex.quote(self.path)} && {set_up} && exec .venv/bin/python -I shared/environment.py {run}"
        return [
            "ssh", "-T",
            # It must not wait for a password that nobody is asked for.
            "-o", "BatchMode=yes",
            "-o", f"ConnectTimeout={CONNECT_TIMEOUT_S}",
            "-o", f"ServerAliveInterval={_ALIVE_EVERY_S}",
            "-o", f"ServerAliveCountMax={_ALIVE_COUNT}",
            *(["-p", str(self.port)] if self.port else []),
            *shlex.split(os.environ.get("SSH_OPTIONS", "")),
            "--", self.destination, there,
        ]  # fmt: skip


class Link:
    """ssh with an agent at its other end. Thread-safe; ``lost`` says why it is over, None while it works.

    With ``aloud`` what the other side says on its standard error is shown until its first reply.
    """

    def __init__(self, address: Address, aloud: bool = True) -> None:
        self._host = address.host
        try:
            self._ssh = subprocess.Popen(
                [*die_with_parent("TERM"), *address.command()],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                # Ctrl-C is for the bench, which then stops the stack over this very connection.
                start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise Unreachable("ssh is missing: install openssh-client") from None
        self.lost: str | None = None
        self._aloud = aloud
        self._heard = False
        self._over = threading.Event()
        self._said: deque[str] = deque(maxlen=20)
        self._all_said = threading.Event()
        self._numbers = count()
        self._awaited: dict[int, Future[Any]] = {}
        self._writing = threading.Lock()
        for work in (self._read_replies, self._read_errors, self._ping):
            threading.Thread(target=work, daemon=True).start()

    def ask(self, do: str, timeout_s: float = ANSWER_TIMEOUT_S, **details: Any) -> Any:
        """Return the result of a request. Raises ConnectionLost, or what the agent raised."""
        try:
            return self.tell(do, **details).result(timeout_s)
        except TimeoutError:
            self._lose(f"{self._host} did not answer '{do}' within {timeout_s:.0f} s")
            raise ConnectionLost(self.lost) from None

    def tell(self, do: str, **details: Any) -> Future[Any]:
        """Send a request and return its reply to come. Raises ConnectionLost."""
        reply: Future[Any] = Future()
        with self._writing:
            number = next(self._numbers)
            self._awaited[number] = reply
            # Looked at only now, so that whoever loses the connection meanwhile finds this request among the awaited.
            if self.lost:
                raise ConnectionLost(self.lost)
            assert self._ssh.stdin is not None
            try:
                self._ssh.stdin.write(json.dumps({"id": number, "do": do, **details}).encode() + b"\n")
                self._ssh.stdin.flush()
            except OSError:
                self._lose(self._reason())
        return reply

    def close(self) -> None:
        """End the agent, which stops its stack, and ssh."""
        assert self._ssh.stdin is not None
        with self._writing:
            self._lose("the connection was closed")
            with suppress(OSError):
                self._ssh.stdin.close()
        try:
            self._ssh.wait(DRAIN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._ssh.kill()
            self._ssh.wait()

    def abandon(self) -> None:
        """Give up a connection that does not work; the agent notices by itself."""
        self._lose("the connection was given up")
        self._ssh.kill()
        self._ssh.wait()

    def _read_replies(self) -> None:
        assert self._ssh.stdout is not None
        for line in self._ssh.stdout:
            try:
                reply = json.loads(line)
                awaited = self._awaited.pop(reply["id"])
            except (ValueError, TypeError, KeyError):
                # What a login script prints comes before the agent's first word.
                continue
            self._heard = True
            if "error" in reply:
                awaited.set_exception(ERRORS.get(reply["error"], ConnectionLost)(reply["text"]))
            else:
                awaited.set_result(reply.get("result"))
        self._lose(self._reason())

    def _read_errors(self) -> None:
        assert self._ssh.stderr is not None
        for line in self._ssh.stderr:
            text = line.decode(errors="replace").strip()
            if text:
                self._said.append(text)
                if self._aloud and not self._heard:
                    print(f"{self._host}: {text}", file=sys.stderr, flush=True)
        self._all_said.set()

    def _ping(self) -> None:
        """Say a word every now and then, and notice when none comes back."""
        with suppress(ConnectionLost):
            while not self._over.wait(_PING_EVERY_S):
                # Before its first word the other side may be setting itself up, which takes as long as it takes.
                self.ask("ping", SILENCE_S if self._heard else SET_UP_TIMEOUT_S)

    def _lose(self, why: str) -> None:
        self.lost = self.lost or why
        self._over.set()
        for number in list(self._awaited):
            if awaited := self._awaited.pop(number, None):
                awaited.set_exception(ConnectionLost(self.lost))

    def _reason(self) -> str:
        try:
            status = self._ssh.wait(1)
        except subprocess.TimeoutExpired:
            return f"the connection to {self._host} broke"
        self._all_said.wait(1)
        last = f": {self._said[-1]}" if self._said else ""
        return f"the connection to {self._host} ended (ssh's status {status}){last}"
