"""The commands of loadtests/scenarios, run as the Makefile runs them."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from loadtests.scenarios.summary import Summary
from loadtests.settings import ROOT

ENDS_WITHIN_S = 60


def newest_summary(name: str) -> tuple[Path, dict[str, Any]]:
    # Other tests' folders may be newer, and "play-blocking" begins as "play" does.
    kept = (ROOT / "results" / "locust").iterdir()
    of_this_name = [path for path in kept if re.fullmatch(rf".*Z-{name}(-\d+)?", path.name)]
    folder = max(of_this_name, key=lambda path: path.stat().st_mtime)
    summary = json.loads((folder / "summary.json").read_text())
    Summary.model_validate(summary)
    return folder, summary


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
            process.wait(ENDS_WITHIN_S)
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive
