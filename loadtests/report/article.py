"""The figures that the 2014 article printed (article-2014.json), and what was wrong with each."""

import json
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("article-2014.json")
# wrk of 2014 called a reply late after this many seconds, and the article did not change it.
_TIMEOUT_S = 2.0
_DOCUMENTS = {"mongo": "small", "mongo_big": "big"}

Run = dict[str, Any]


@cache
def article() -> dict[str, Any]:
    """Return the whole file: ``source``, the machines, ``settings``, ``bodies_bytes``, ``runs``, ``sleep_runs``."""
    return json.loads(_FILE.read_text())  # type: ignore[no-any-return]


def runs(document: str) -> list[Run]:
    """Return the article's runs of one document, by stack and connections."""
    found = [run for run in article()["runs"] if run["document"] == document]
    order = list(dict.fromkeys(run["stack"] for run in article()["runs"]))
    return sorted(found, key=lambda run: (order.index(run["stack"]), run["connections"], run["workers"] or 0))


def counterpart(stack: str, endpoint: str, connections: int, many_workers: bool) -> Run | None:
    """Return the article's run of this stack, document and number of connections; None where it had none.

    ``many_workers`` asks for its run with 2N+1 workers where there are two.
    """
    found = [
        run for run in runs(_DOCUMENTS.get(endpoint, "")) if run["stack"] == stack and run["connections"] == connections
    ]
    return next((run for run in found if bool(run["workers"]) == many_workers), found[0] if found else None)


def right_per_s(run: Run) -> float:
    """Return the replies a second that were no error: a complete reply before a close is one of them."""
    return float(run["requests_per_s"] * (1 - run["non_2xx_3xx"] / run["requests"]))


def ends(run: Run) -> dict[str, int]:
    """Return how the requests of a run truly ended, by the kinds of charts.IN_2014."""
    answered = run["requests"] - run["non_2xx_3xx"]
    # wrk's read errors: where the server closes after each reply they are the replies themselves.
    closed = min(run["errors"]["read"], answered) if run["stack"].startswith("uwsgi") else 0
    return {
        "right": answered - closed,
        "closed": closed,
        "status": run["non_2xx_3xx"],
        "lost": run["errors"]["read"] - closed,
        "late": run["errors"]["timeout"],
    }


def name(run: Run) -> str:
    """Return the stack as this project calls it, with the workers where the article tells runs apart by them."""
    return f"{run['stack']} [{run['workers']} workers]" if run["workers"] else str(run["stack"])


def what_was_wrong(run: Run) -> list[str]:
    """Return what misleads in a run, a sentence each."""
    said = []
    ended = ends(run)
    if ended["closed"]:
        said.append(
            "uWSGI closed each connection after its reply, and wrk calls that a read error: "
            f"{ended['closed']:,} complete replies were drawn as failed."
        )
    if ended["status"]:
        said.append(f"Truly failed: {ended['status']:,} of {run['requests']:,} replies had an error status.")
    waited_s = run["connections"] / run["requests_per_s"]
    if ended["late"]:
        why = (
            f"{run['connections']:,} connections at {run['requests_per_s']:,.0f} a second wait {waited_s:.1f} s each"
            if waited_s > _TIMEOUT_S / 2
            else "some connections waited while others were served"
        )
        said.append(f"{ended['late']:,} timeouts are waiting, not failing: {why}, and wrk's limit was 2 s.")
    if run["stack"] == "play":
        said.append("The pool of 6,000 was an option that its driver ignored: it ran with 10 channels.")
    if run["stack"] == "tornado":
        said.append("Called “Tornado + gevent”: there is no gevent in it, and Motor hides a thread pool.")
    if run["document"] == "big" and (body := article()["bodies_bytes"]["big"].get(run["stack"])):
        said.append(f"Its body was {body / 1000:.1f} KB where others sent 5.8 to 8.1 KB for the same document.")
    elif run["document"] == "small":
        reply = run["bytes_read"] / run["requests"]
        said.append(f"{reply:.0f} bytes for each reply, headers included; others sent {_least_and_most_bytes()}.")
    said.append("Means and maxima only, and nothing on what it cost.")
    return said


@cache
def _least_and_most_bytes() -> str:
    sizes = [run["bytes_read"] / run["requests"] for run in runs("small")]
    return f"{min(sizes):.0f} to {max(sizes):.0f}"
