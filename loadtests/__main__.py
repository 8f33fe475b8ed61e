"""``python -m loadtests COMMAND``: what the Makefile calls."""

import sys

from loadtests.battle import command
from loadtests.faults import document, matrix, soak
from loadtests.machines import agent
from loadtests.measure.wrk import WrkFailed
from loadtests.results import document as results_document
from loadtests.results.file import CannotWrite
from loadtests.run import load_by_hand, run
from loadtests.scenarios import command as scenarios
from loadtests.scenarios import demo as demo_sleep
from loadtests.scenarios import limit as locust_limit
from loadtests.settings import BadSetting
from loadtests.signals import Stopped
from loadtests.stacks import chores, toolchain
from loadtests.stacks.catalogue import named
from loadtests.stacks.server import StackFailed
from shared.seed import NotSeeded
from shared.system_packages import Unavailable

_USAGE = (
    "usage: python -m loadtests run NAME | wrk NAME | prepare NAME | battle | battle-quick | battle-2014 | compare | "
    "report | example | demo-sleep | locust [NAME] | locust-ui NAME | locust-master | locust-worker | locust-limit | "
    "faults | faults-of NAME | faults-document | results-document | soak | audit | agent | lint | format | bench-encode"
)
_BAD_INPUT = 2
_INTERRUPTED = 130


def main(arguments: list[str]) -> int:
    """Run one command and return its exit status: 0, 1 for a failed stack, 2 for bad input or a missing tool,
    130 when a signal stopped it."""
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
            case ["locust-limit"]:
                return locust_limit.measure()
            case ["agent"]:
                return agent.serve(sys.stdin.buffer, sys.stdout.buffer)
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
            case ["faults"]:
                return matrix.faults()
            case ["faults-of", name]:
                return matrix.faults_of(named([name])[0])
            case ["faults-document"]:
                return document.write_document()
            case ["results-document"]:
                return results_document.write_document()
            case ["soak"]:
                return soak.soak()
            case ["audit"]:
                return chores.audit()
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
    except (StackFailed, WrkFailed, CannotWrite) as failure:
        print(failure, file=sys.stderr)
        return 1
    except Stopped:
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
