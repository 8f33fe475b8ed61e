"""``python -m shared up | down | status | seed``: what ``make db-up``, ``db-down``, ``db-status`` and ``seed`` call."""

import os
import sys

from shared.environment import choose

if __name__ == "__main__":
    choose()

from shared import mongod
from shared.address import BadAddress, database_name, database_uri, shown
from shared.seed import NotSeeded, seed
from shared.system_packages import Unavailable


def _up() -> str:
    if uri := os.environ.get("MONGODB_URI"):
        return f"MONGODB_URI is set, so none is started: {shown(uri, database_name())}"
    server = mongod.ensure_running()
    return f"mongod runs at {server.uri} (data and log in {server.home}); stop it with `make db-down`"


def _down() -> str:
    server = mongod.stop_running()
    if server is None:
        return "no mongod of this project runs"
    return f"mongod at {server.uri} stopped; its data is kept in {server.home}"


def _status() -> str:
    if uri := os.environ.get("MONGODB_URI"):
        return f"MONGODB_URI is set: {shown(uri, database_name())}"
    server = mongod.running()
    return f"mongod runs at {server.uri} (pid {server.pid})" if server else "no mongod of this project runs"


def _seed() -> str:
    name, uri = database_name(), database_uri()
    written = seed(uri, name)
    state = f"{written} of 2 fixture documents written" if written else "both fixture documents are there already"
    return f"{state}: {shown(uri, name)}"


_COMMANDS = {"up": _up, "down": _down, "status": _status, "seed": _seed}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in _COMMANDS:
        print(f"usage: python -m shared {' | '.join(_COMMANDS)}", file=sys.stderr)
        return 2
    try:
        print(_COMMANDS[arguments[0]]())
    except (BadAddress, Unavailable, NotSeeded) as problem:
        print(problem, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
