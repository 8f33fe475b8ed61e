"""A stack that a person starts: where HOST and PORT say, and told which database is served there."""

import os
import sys

from loadtests.settings import is_loopback, whole_number
from loadtests.stacks import toolchain
from loadtests.stacks.catalogue import Stack
from loadtests.stacks.server import LOOPBACK, Server, require_free_port
from shared.address import BadAddress, database_name, database_uri, shown
from shared.seed import NotSeeded, require_fixtures


def prepared(stack: Stack, port: int | None = None) -> tuple[Server, bool]:
    """Return the server, not yet started, and whether its database holds the fixtures.

    Raises BadSetting where HOST and ``port``, by default PORT, cannot be listened on, BadAddress and Unavailable.
    """
    port = port or whole_number("PORT", 5000, most=65535)
    host = os.environ.get("HOST") or LOOPBACK
    name = database_name()
    require_free_port(host, port)
    toolchain.prepare(stack.app)
    uri = database_uri()
    fixtures = True
    try:
        require_fixtures(uri)
    except (NotSeeded, BadAddress) as reason:
        # Somebody's own documents are there to be served; a database that is down may come up later.
        say(f"without the fixtures: {reason}")
        fixtures = False
    server = Server(stack, uri, port, host=host)
    say(f"{stack.title} at {server.url}; database {shown(uri, name)}")
    warn_if_reachable("HOST", host, "whoever reaches it is served, with no login and no TLS")
    return server, fixtures


def warn_if_reachable(name: str, host: str, danger: str) -> None:
    """Say what can happen where the variable ``name`` opens this machine to others."""
    if not is_loopback(host):
        say(f"{name}={host} can be reached from other machines: {danger}")


def say(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        # The terminal is gone; what was started is stopped all the same.
        return
