"""A real browser for what people see."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

from shared.system_packages import Unavailable, require
from tests.conftest import IN_CI

# Without these Chromium asks Google's hosts for updates at its start; the sandbox refuses to run as root.
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Chromium in the block, or skip with the reason; in CI, which installs it, that is a failure."""
    try:
        require(["chromium"])
    except Unavailable as reason:
        if IN_CI:
            raise
        pytest.skip(str(reason))
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=_FLAGS)
        try:
            yield started
        finally:
            started.close()
