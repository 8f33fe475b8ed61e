"""How the tests share the machine: most only wait, and run side by side; what measures runs alone, at the end.

With pytest-xdist (``make test``) each worker has a mongod of its own and takes one group of tests after the other. A
group is what shares something that is started once. Without it (``WORKERS=0 make test``) the order is the same.
"""

import fcntl
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest
from _pytest.runner import runtestprotocol

from loadtests.settings import ROOT

_ALONE = "alone"
_SHARED_SERVERS = {"server", "hasty_server"}
# Not the name of an app: toolchain has a lock beside it for each.
_LOCK = ROOT / ".prepared" / "side-by-side.lock"
_DOOR = _LOCK.with_name("side-by-side-door.lock")
_AGAIN = "run again alone"
# What a test says that cannot tell because of others on the machine: pytest.skip(f"{UNDECIDED}: ...").
UNDECIDED = "not decided"


def _group(item: pytest.Item) -> str:
    if _measures(item):
        return _ALONE
    file = item.path.stem
    stack = _stack(item)
    if stack:
        # The others start what they need, and need not wait for those that the stack's own server serves.
        return stack if _SHARED_SERVERS & set(_fixtures(item)) else f"{stack} {file}"
    named = item.get_closest_marker("xdist_group")
    return str(named.args[0]) if named else file


def _rank(item: pytest.Item) -> int:
    """Begin with what has a group by name, which takes longest: no worker shall be left alone with it at the end."""
    if _measures(item):
        return 3
    if _stack(item):
        return 1
    return 0 if item.get_closest_marker("xdist_group") else 2


def _measures(item: pytest.Item) -> bool:
    return item.get_closest_marker("load") is not None


def _stack(item: pytest.Item) -> str | None:
    stack = item.callspec.params.get("stack") if hasattr(item, "callspec") else None
    return stack.name if stack else None


def _fixtures(item: pytest.Item) -> list[str]:
    return getattr(item, "fixturenames", [])


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """Put each test into its group, and the groups into their order."""
    # By id: pytest-xdist changes what an item's hash is made from.
    place: dict[int, tuple[int, int]] = {}
    first: dict[str, int] = {}
    for item in items:
        group = _group(item)
        # One stack after the other, also where the group has all: its server is started once.
        place[id(item)] = (_rank(item), first.setdefault(f"{group} of {_stack(item)}", len(first)))
        item.add_marker(pytest.mark.xdist_group(group), append=False)
    yield
    items.sort(key=lambda item: place[id(item)])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run a test when it has its share of the machine, before its own time begins to count.

    Promises are in seconds, and beside others a test may have had none to spare: what fails there is run once more,
    alone, and that counts.
    """
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    with _machine(fcntl.LOCK_EX if _measures(item) else fcntl.LOCK_SH):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    failed = next((report for report in reports if report.failed), None)
    if failed and not _measures(item) and _beside_others(item):
        item.user_properties.append((_AGAIN, _first_error(failed)))
        with _machine(fcntl.LOCK_EX):
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _first_error(failed: pytest.TestReport) -> str:
    lines = failed.longreprtext.splitlines()
    return next((line for line in lines if line.startswith("E ")), lines[-1] if lines else "")


def _beside_others(item: pytest.Item) -> bool:
    return hasattr(item.config, "workerinput")


@contextmanager
def _machine(how: int) -> Iterator[None]:
    # The kernel gives the locks back when a worker is killed. Who wants the machine alone keeps the door meanwhile, so
    # that no others go in before.
    _DOOR.parent.mkdir(exist_ok=True)
    with _DOOR.open("w") as door, _LOCK.open("w") as lock:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(lock, how)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not decided where everybody looks: above the last line."""
    skipped = terminalreporter.stats.get("skipped", [])
    undecided = [report for report in skipped if UNDECIDED in str(report.longrepr)]
    if undecided:
        terminalreporter.section(f"{len(undecided)} tests did not decide: others used the machine", yellow=True)
        for report in undecided:
            terminalreporter.line(report.nodeid)
    passed = terminalreporter.stats.get("passed", [])
    again = [(report.nodeid, why) for report in passed for name, why in report.user_properties if name == _AGAIN]
    if again:
        terminalreporter.section(f"{len(again)} tests failed beside others and passed alone", yellow=True)
        for test, why in again:
            terminalreporter.line(f"{test}\n  {why}")
