"""``python -m tests.harness.prepare``: set up what the tests need, once and in sight, before they ask for it."""

import sys
from collections.abc import Callable
from functools import partial

from loadtests.stacks import toolchain
from loadtests.stacks.catalogue import apps
from shared import mongod
from shared.environment import choose
from shared.system_packages import Unavailable, require

_TOOLS = ("wrk", "chromium", "ip", "sshd")


def prepare() -> None:
    """Set everything up. What cannot be is named; the tests that need it say so again, each by its name."""
    steps: list[Callable[[], object]] = [mongod.binary]
    steps += [partial(require, [tool]) for tool in _TOOLS]
    steps += [partial(toolchain.prepare_tests, app) for app in apps().values()]
    for step in steps:
        try:
            step()
        except Unavailable as reason:
            print(reason, file=sys.stderr, flush=True)


if __name__ == "__main__":
    choose()
    prepare()
