"""A real browser for what people see."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from shared.system_packages import require
from tests.conftest import skipped_without_its_tools

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
    """Run Chromium in the block, or skip with the reason."""
    with skipped_without_its_tools():
        require(["chromium"])
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=_FLAGS)
        try:
            yield started
        finally:
            started.close()
