"""``python -m loadtests COMMAND``: what the Makefile calls."""

import sys

from loadtests import chores, command, demo_sleep, toolchain
from loadtests.run import load_by_hand, run
from loadtests.server import StackFailed
from loadtests.settings import BadSetting
from loadtests.stacks import named
from loadtests.wrk import WrkFailed
from shared.seed import NotSeeded
from shared.system_packages import Unavailable

_USAGE = (
    "usage: python -m loadtests run NAME | wrk NAME | prepare NAME | battle | battle-quick | battle-2014 | compare | "
    "report | example | demo-sleep | lint | format | bench-encode"
)
_BAD_INPUT = 2


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
            case ["battle" | "battle-quick" | "battle-2014" as plan]:
                return command.battle(plan)
            case ["compare"]:
                return command.compare_two()
            case ["report"]:
                return command.report()
            case ["example"]:
                return command.example()
            case ["demo-sleep"]:
                return demo_sleep.tell()
            case ["lint"]:
                return chores.lint()
            case ["format"]:
                return chores.format_code()
            case ["bench-encode"]:
                return chores.bench_encode()
        print(_USAGE, file=sys.stderr)
        return _BAD_INPUT
    except (BadSetting, Unavailable, NotSeeded) as problem:
        print(problem, file=sys.stderr)
        return _BAD_INPUT
    except (StackFailed, WrkFailed) as failure:
        print(failure, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
