"""``python -m loadtests COMMAND``: what the Makefile calls."""

import sys
from collections.abc import Callable
from functools import partial

from shared.environment import choose

if __name__ == "__main__":
    # Before anything that reads it.
    choose()

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
from loadtests.stacks.catalogue import Stack, named
from loadtests.stacks.server import StackFailed
from shared.address import BadAddress
from shared.seed import NotSeeded
from shared.system_packages import Unavailable

_OF_A_STACK: dict[str, Callable[[Stack], int | None]] = {
    "run": run,
    "wrk": load_by_hand,
    "prepare": lambda stack: toolchain.prepare(stack.app),
    "locust": scenarios.load,
    "locust-ui": scenarios.web_page,
    "faults-of": matrix.faults_of,
}
_COMMANDS: dict[str, Callable[[], int]] = {
    "battle": partial(command.battle, "battle"),
    "battle-quick": partial(command.battle, "battle-quick"),
    "battle-2014": partial(command.battle, "battle-2014"),
    "compare": command.compare_two,
    "report": command.report,
    "example": command.example,
    "demo-sleep": demo_sleep.tell,
    "locust": scenarios.load_target,
    "locust-master": scenarios.master,
    "locust-worker": scenarios.worker,
    "locust-limit": locust_limit.measure,
    "faults": matrix.faults,
    "faults-document": document.write_document,
    "results-document": results_document.write_document,
    "soak": soak.soak,
    "audit": chores.audit,
    "agent": lambda: agent.serve(sys.stdin.buffer, sys.stdout.buffer),
    "lint": chores.lint,
    "format": chores.format_code,
    "bench-encode": chores.bench_encode,
}
_BAD_INPUT = 2
_INTERRUPTED = 130


def main(arguments: list[str]) -> int:
    """Run one command and return its exit status: 0, 1 for a failed stack, 2 for bad input or a missing tool,
    130 when a signal stopped it."""
    try:
        match arguments:
            case [name, stack] if name in _OF_A_STACK:
                return _OF_A_STACK[name](named([stack])[0]) or 0
            case [name] if name in _COMMANDS:
                return _COMMANDS[name]()
        usage = [*(f"{name} NAME" for name in _OF_A_STACK), *_COMMANDS]
        print(f"usage: python -m loadtests {' | '.join(usage)}", file=sys.stderr)
        return _BAD_INPUT
    except (BadSetting, BadAddress, Unavailable, NotSeeded) as problem:
        print(problem, file=sys.stderr)
        return _BAD_INPUT
    except (StackFailed, WrkFailed, CannotWrite) as failure:
        print(failure, file=sys.stderr)
        return 1
    except Stopped:
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
