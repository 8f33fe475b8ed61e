"""wrk, run once, with what it counted as numbers."""

import errno
import json
import os
import resource
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.results.counts import WrkCounts
from loadtests.settings import ROOT
from loadtests.stacks.processes import die_with_parent, pinned_to

_SCRIPT = Path(__file__).with_name("wrk.lua")
# wrk ends by itself after its duration; one that does not is stuck.
_GRACE_S = 30
RAMP_PATH = "/sleep?ms=0"
RAMP_BODY = '{"slept_ms":0}'

# What runs out on the machine of the clients: no server has refused anything then.
OWN_TROUBLE = {
    errno.EADDRNOTAVAIL: "client ports",
    errno.EMFILE: "open files",
    errno.ENFILE: "open files",
    errno.ENOBUFS: "memory",
    errno.ENOMEM: "memory",
    errno.EAGAIN: "processes",
}


class WrkFailed(Exception):
    """No load: wrk could not run or was killed, or its machine ran out of something. The message is one line."""


def out_of(what: str) -> WrkFailed:
    """Return what to raise where this machine, and not the server, had too little of ``what``."""
    return WrkFailed(f"this machine ran out of {what}: the bench's own trouble, which says nothing about the server")


@dataclass(frozen=True)
class Load:
    """What wrk is asked to do. Times in seconds."""

    connections: int
    duration_s: int
    threads: int = 1
    timeout_s: int = 10

    def command(self, url: str) -> list[str]:
        """Return the command line as a person would type it."""
        size = (f"-t{self.threads}", f"-c{self.connections}", f"-d{self.duration_s}s")
        return ["wrk", *size, "--timeout", f"{self.timeout_s}s", "--latency", url]


def run(
    url: str,
    load: Load,
    right_body: bytes,
    cpus: Sequence[int] | None = None,
    environment: Mapping[str, str] | None = None,
    meanwhile: Callable[[int], None] | None = None,
    interval_s: float = 1.0,
) -> WrkCounts:
    """Load ``url`` and return what wrk counted; call ``meanwhile`` with wrk's process id every ``interval_s`` seconds.

    Raises WrkFailed when wrk cannot start, is killed or is stuck. Whatever is raised, wrk does not go on.
    """
    with tempfile.TemporaryDirectory(prefix="wrk-") as folder:
        body = Path(folder, "right_body")
        body.write_bytes(right_body)
        of_each_thread = load.connections // load.threads
        command = load.command(url)
        command[1:1] = ["-s", str(_SCRIPT)]
        command += ["--", str(of_each_thread), RAMP_PATH, RAMP_BODY, str(body)]
        tables, summary, usage = run_script(
            [*pinned_to(cpus), *command], load.duration_s, environment, meanwhile, interval_s
        )
    return _counts(summary, load.command(url), load, tables, usage)


def run_script(
    command: Sequence[str],
    duration_s: int,
    environment: Mapping[str, str] | None = None,
    meanwhile: Callable[[int], None] | None = None,
    interval_s: float = 1.0,
) -> tuple[str, dict[str, Any], resource.struct_rusage]:
    """Run a command of wrk with a script that ends with a line ``SUMMARY {...}``.

    Return what it said before that line, what is in it, and what wrk has used. Raises WrkFailed.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*die_with_parent("KILL"), *command],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        usage = _wait(process, duration_s, meanwhile, interval_s)
        output.seek(0)
        text = output.read().decode(errors="replace")
    tables, _, summary = text.partition("SUMMARY ")
    if process.returncode < 0:
        raise WrkFailed(f"wrk was killed by {signal.Signals(-process.returncode).name}")
    if process.returncode or not summary:
        last = " ".join(text.strip().splitlines()[-1:])
        for number, what in OWN_TROUBLE.items():
            if os.strerror(number) in last:
                raise out_of(what)
        raise WrkFailed(f"wrk ended with status {process.returncode}: {last}")
    return tables, json.loads(summary), usage


def _wait(
    process: "subprocess.Popen[bytes]", duration_s: int, meanwhile: Callable[[int], None] | None, interval_s: float
) -> resource.struct_rusage:
    deadline = time.monotonic() + duration_s + _GRACE_S
    assert process.stdin
    ended = select.poll()
    # wrk reads nothing: this pipe tells when its other end is closed, which no kernel is too old for.
    ended.register(process.stdin, 0)
    try:
        while not ended.poll(interval_s * 1000):
            if time.monotonic() > deadline:
                raise WrkFailed(f"wrk did not end {_GRACE_S} s after its {duration_s} s")
            if meanwhile:
                meanwhile(process.pid)
    except BaseException:
        os.kill(process.pid, signal.SIGKILL)
        raise
    finally:
        process.stdin.close()
        # Reaped here and not by Popen: only wait4 tells what this one child has used.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def _counts(
    summary: dict[str, Any], command: list[str], load: Load, tables: str, usage: resource.struct_rusage
) -> WrkCounts:
    measured, limit_us = summary.pop("measured"), summary.pop("limit_us")
    if limit_us and measured != summary["replies"] - summary["late"]:
        raise WrkFailed("wrk's histogram is not laid out as wrk 4.0 to 4.2 lay it out: use one of these")
    return WrkCounts.model_validate(
        {
            **summary,
            "command": " ".join(command),
            "output": tables,
            "asked_s": load.duration_s,
            "user_s": usage.ru_utime,
            "system_s": usage.ru_stime,
            "voluntary_switches": usage.ru_nvcsw,
            "involuntary_switches": usage.ru_nivcsw,
        }
    )
