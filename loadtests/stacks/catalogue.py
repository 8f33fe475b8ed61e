"""The apps and the stacks of ``stacks.toml``."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from loadtests.settings import ROOT, BadSetting


@dataclass(frozen=True)
class App:
    """A self-contained folder, with the commands that are typed inside it."""

    name: str
    tools: tuple[str, ...]
    inputs: tuple[str, ...]
    setup: tuple[str, ...]
    path: str
    test: str
    test_setup: tuple[str, ...] = ()
    lint: tuple[str, ...] = ()
    format: tuple[str, ...] = ()
    bench_encode: str = ""

    @property
    def folder(self) -> Path:
        return ROOT / self.name


@dataclass(frozen=True)
class Stack:
    """One way to serve an app. ``model`` is ``processes``, ``threads`` or ``events``.

    ``finds_each`` is how many finds one of its processes can have in the database at once: a number, or a variable
    that sets it with its default; None where nobody has said.
    """

    name: str
    title: str
    app: App
    command: str
    model: str
    keep_alive: bool
    choose_when: str
    processes: str = "cpus"
    finds_each: int | dict[str, int] | None = None
    thread_per_connection: bool = False

    @property
    def slots_are(self) -> str:
        """What limits the finds it can have in the database at once, in words."""
        if not isinstance(self.finds_each, dict):
            return "worker processes"
        return "threads" if "THREADS" in self.finds_each else "pooled connections"

    def default_processes(self, cpus: int) -> int:
        """Return how many worker processes it starts on ``cpus`` CPUs when WEB_CONCURRENCY is not set."""
        return {"1": 1, "cpus": cpus, "2 cpus + 1": 2 * cpus + 1}[self.processes]


@cache
def apps() -> dict[str, App]:
    return {name: App(name=name, **_tuples(entry)) for name, entry in _file()["apps"].items()}


@cache
def stacks() -> dict[str, Stack]:
    """Return every stack by name, in the order of the file."""
    entries = _file()["stacks"].items()
    return {name: Stack(name=name, **{**entry, "app": apps()[entry["app"]]}) for name, entry in entries}


def named(names: Sequence[str]) -> list[Stack]:
    """Return the stacks of these names. Raises BadSetting with the known names for another."""
    unknown = [name for name in names if name not in stacks()]
    if unknown:
        raise BadSetting(f"no stack is called {' '.join(unknown)}; there are: {' '.join(stacks())}")
    return [stacks()[name] for name in names]


@cache
def _file() -> dict:
    return tomllib.loads((ROOT / "stacks.toml").read_text())


def _tuples(entry: dict) -> dict:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
