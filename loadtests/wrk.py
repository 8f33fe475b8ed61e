"""wrk, run once, with what it counted as numbers."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).with_name("wrk.lua")
# wrk ends by itself after its duration; one that does not is stuck.
_GRACE_S = 30


class WrkFailed(Exception):
    """wrk could not run. The message is its own last line."""


@dataclass(frozen=True)
class Load:
    """What wrk is asked to do. Times in seconds."""

    connections: int
    duration_s: int
    threads: int = 1
    timeout_s: int = 10

    def command(self, url: str) -> list[str]:
        """Return the command line as a person would type it."""
        return [
            "wrk",
            f"-t{self.threads}",
            f"-c{self.connections}",
            f"-d{self.duration_s}s",
            "--timeout",
            f"{self.timeout_s}s",
            "--latency",
            url,
        ]


@dataclass(frozen=True)
class Measured:
    """What wrk counted. ``requests`` is every complete reply, whatever its status; latencies in milliseconds."""

    requests: int
    duration_s: float
    bytes: int
    latency_ms: dict[str, float]
    connect: int
    reset: int
    timeout: int
    status_4xx: int
    status_5xx: int
    output: str

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.duration_s

    @property
    def succeeded(self) -> int:
        return self.requests - self.status_4xx - self.status_5xx


def run(url: str, load: Load) -> Measured:
    """Load ``url`` and return what wrk counted. Raises WrkFailed."""
    command = load.command(url)
    command[1:1] = ["-s", str(_SCRIPT)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=load.duration_s + _GRACE_S)
    except subprocess.TimeoutExpired:
        raise WrkFailed(f"wrk did not end {_GRACE_S} s after its {load.duration_s} s") from None
    tables, _, summary = done.stdout.partition("SUMMARY ")
    if done.returncode or not summary:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise WrkFailed(f"wrk ended with status {done.returncode}: {' '.join(last)}")
    return _measured(json.loads(summary), tables)


def _measured(summary: dict[str, float], tables: str) -> Measured:
    names = ("mean", "stdev", "p50", "p90", "p99", "p999", "max")
    return Measured(
        requests=int(summary["requests"]),
        duration_s=summary["duration_us"] / 1e6,
        bytes=int(summary["bytes"]),
        latency_ms={name: summary[f"{name}_us"] / 1000 for name in names},
        connect=int(summary["connect"]),
        reset=int(summary["read"] + summary["write"]),
        timeout=int(summary["timeout"]),
        status_4xx=int(summary["status_4xx"]),
        status_5xx=int(summary["status_5xx"]),
        output=tables,
    )
