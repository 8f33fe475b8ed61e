"""All cases on all stacks, two stacks at a time, and the table that they make."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from loadtests.faults.arena import Arena, DoesNotApply, Finding
from loadtests.faults.cases import BROKEN, CASES, HOLDS, NOT_APPLICABLE, PROPERTY, Case, exception
from loadtests.faults.document import matrix, numbered, seen
from loadtests.machines.description import describe
from loadtests.measure.wrk import WrkFailed
from loadtests.results.file import write_whole, writing
from loadtests.results.words import minutes
from loadtests.settings import RESULTS, ROOT, BadSetting, words
from loadtests.signals import Stopped, stopped_by_signals
from loadtests.stacks import toolchain
from loadtests.stacks.catalogue import Stack, named, stacks
from loadtests.stacks.processes import die_with_parent
from loadtests.stacks.server import StackFailed, raise_open_file_limit
from shared import mongod
from shared.said import without_secrets
from shared.system_packages import Unavailable

_FAILED = 1
_AT_A_TIME = 2
_POLL_S = 0.2


def faults() -> int:
    """Run the matrix, write faults.json and faults.md; return 1 where a promise was broken. Raises BadSetting."""
    chosen = named(words("STACKS") or list(stacks()))
    cases = _chosen_cases()
    # A run of some must not take the place of one of all: that is what the page and the report are made from.
    name = "faults" if (len(chosen), len(cases)) == (len(stacks()), len(CASES)) else "faults-of-some"
    folder = RESULTS / "faults"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    ready = []
    for stack in chosen:
        try:
            toolchain.prepare(stack.app)
            ready.append(stack)
        except Unavailable as reason:
            print(f"{stack.name}: skipped: {reason}", flush=True)
            rows += [_row(stack, case, NOT_APPLICABLE, without_secrets(str(reason))) for case in cases]
    print(f"{len(ready)} stacks x {len(cases)} cases, {_AT_A_TIME} stacks at a time", flush=True)
    begun = time.monotonic()
    try:
        with stopped_by_signals():
            _side_by_side([stack.name for stack in ready])
    except Stopped:
        print("stopped: nothing was written")
        raise
    for stack in ready:
        rows += json.loads((folder / f"{stack.name}.json").read_text())
    took_s = round(time.monotonic() - begun, 1)
    result = {
        "schema": 1,
        "command": "make faults",
        "took_s": took_s,
        "environment": describe({stack.app for stack in ready}, mongod.version()).model_dump(),
        "rows": rows,
    }
    write_whole(folder / f"{name}.json", json.dumps(result, indent=1) + "\n")
    write_whole(folder / f"{name}.md", "\n\n".join([matrix(rows).markdown(), numbered(rows), seen(rows)]) + "\n")
    broken = [row for row in rows if row["verdict"] == BROKEN]
    for row in broken:
        print(f"! {row['stack']}, {row['title']}: {'; '.join(row['finding']['broken'])}")
    print(
        f"{len(rows)} cases in {minutes(took_s)}: {len(rows) - len(broken)} hold, are properties or do not "
        f"apply; {len(broken)} broken"
    )
    print(folder / f"{name}.md")
    return _FAILED if broken else 0


def run_case(case: Case, stack: Stack, arena: Arena) -> dict[str, Any]:
    begun = time.monotonic()
    try:
        finding = case.run(arena)
    except (DoesNotApply, BadSetting, WrkFailed) as reason:
        return _row(stack, case, NOT_APPLICABLE, str(reason))
    except Exception as failure:
        # The other cases go on, and this one is not taken for one that holds.
        finding = Finding(seen="", broken=[without_secrets(f"{type(failure).__name__}: {failure}").splitlines()[0]])
    why = exception(case, stack)
    verdict = HOLDS if not finding.broken else PROPERTY if why else BROKEN
    row = _row(stack, case, verdict, why if verdict == PROPERTY else None)
    return {**row, "finding": asdict(finding), "took_s": round(time.monotonic() - begun, 1)}


def faults_of(stack: Stack) -> int:
    """Run the cases that CASES names on one stack, and write its rows for ``faults`` to collect."""
    raise_open_file_limit()
    folder = ROOT / ".mongodb" / "faults" / stack.name
    # One that was killed has left its mongod.
    mongod.remove(folder)
    arena = Arena(stack, folder)
    rows = []
    try:
        with stopped_by_signals():
            for case in _chosen_cases():
                rows.append(run_case(case, stack, arena))
                _tell(rows[-1])
                if rows[-1]["verdict"] == BROKEN:
                    (RESULTS / "faults" / f"{stack.name}.{case.name}.log").write_text(arena.log)
        (RESULTS / "faults" / f"{stack.name}.json").write_text(json.dumps(rows))
    finally:
        mongod.remove(folder)
    return 0


def _chosen_cases() -> list[Case]:
    unknown = [name for name in words("CASES") if name not in CASES]
    if unknown:
        raise BadSetting(f"no case is called {' '.join(unknown)}; there are: {' '.join(CASES)}")
    return [CASES[name] for name in words("CASES") or CASES]


def _side_by_side(names: Sequence[str]) -> None:
    """Run each stack's cases in a process of its own, which ends what it has started when it is told to stop."""
    waiting = list(names)
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < _AT_A_TIME:
                name = waiting.pop(0)
                command = [*die_with_parent("TERM"), sys.executable, "-m", "loadtests", "faults-of", name]
                running[name] = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
            time.sleep(_POLL_S)
            for name in [name for name, process in running.items() if process.poll() is not None]:
                status = running.pop(name).returncode
                if status:
                    raise StackFailed(f"the cases of {name} ended with status {status}")
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()


def _tell(row: dict[str, Any]) -> None:
    finding = row["finding"]
    said = finding["seen"] if finding else row["why"]
    broken = f" ! {'; '.join(finding['broken'])}" if finding and finding["broken"] else ""
    print(f"{row['stack']:<17}{row['case']:<20}{row['verdict']:<15}{said}{broken}", flush=True)


def _row(stack: Stack, case: Case, verdict: str, why: str | None) -> dict[str, Any]:
    return {
        "stack": stack.name,
        "case": case.name,
        "title": case.title,
        "verdict": verdict,
        "why": why,
        "finding": None,
        "took_s": 0.0,
    }
