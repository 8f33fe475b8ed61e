"""``python -m loadtests run NAME | wrk NAME | battle | prepare NAME``: what the Makefile calls."""

import sys

from rich.console import Console

from loadtests import battle, scenarios, toolchain
from loadtests.run import load_by_hand, run
from loadtests.settings import BadSetting
from loadtests.signals import Stopped, stopped_by_signals
from loadtests.server import StackFailed
from loadtests.stacks import named
from loadtests.terminal import Terminal, table
from loadtests.wrk import WrkFailed
from shared.address import database_name, database_uri
from shared.seed import NotSeeded, seed
from shared.system_packages import Unavailable, require

_USAGE = "usage: python -m loadtests run NAME | wrk NAME | prepare NAME | battle"
_BAD_INPUT = 2
_INTERRUPTED = 130


def main(arguments: list[str]) -> int:
    """Run one command and return its exit status: 0, 1 for a failed stack, 2 for bad input or a missing tool."""
    try:
        match arguments:
            case ["run", name]:
                return run(named([name])[0])
            case ["wrk", name]:
                return load_by_hand(named([name])[0])
            case ["prepare", name]:
                toolchain.prepare(named([name])[0].app)
                return 0
            case ["locust", name]:
                return scenarios.load(named([name])[0])
            case ["locust-ui", name]:
                return scenarios.web_page(named([name])[0])
            case ["locust"]:
                return scenarios.load_target()
            case ["locust-master"]:
                return scenarios.master()
            case ["locust-worker"]:
                return scenarios.worker()
            case ["battle"]:
                return _battle()
        print(_USAGE, file=sys.stderr)
        return _BAD_INPUT
    except (BadSetting, Unavailable, NotSeeded) as problem:
        print(problem, file=sys.stderr)
        return _BAD_INPUT
    except (StackFailed, WrkFailed) as failure:
        print(failure, file=sys.stderr)
        return 1


def _battle() -> int:
    console = Console()
    plan = battle.plan_from_environment()
    require(["wrk"])
    uri = database_uri()
    seed(uri, database_name())
    folder = battle.new_folder()
    terminal = Terminal(plan, console)
    console.print(
        f"{len(plan.stacks)} stacks, {len(plan.endpoints)} endpoints, {plan.load.connections} connections: "
        f"about {plan.seconds // 60} min {plan.seconds % 60} s once set up",
        highlight=False,
    )
    try:
        with stopped_by_signals(), terminal.live:
            results = battle.fight(plan, uri, folder, terminal)
    except Stopped:
        console.print(f"Stopped. What was measured so far is in {folder}", soft_wrap=True)
        return _INTERRUPTED
    console.print(table(results))
    console.print(f"Results, wrk's own tables and the servers' logs: {folder}", soft_wrap=True)
    return 0 if results.passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
