"""From what wrk, the observer and mongod counted to a cell's figures (docs/results.md). Nothing here measures."""

from collections.abc import Sequence
from statistics import median, quantiles
from typing import Any

from loadtests.measure.observer import Observation, Outcome
from loadtests.measure.wrk import WINDOW_S, Measured

# Ways to lose a connection that wrk counts as one and the same read error.
_LOSSES = ("refused", "reset", "closed_after_reply")


def rate(measured: Measured, connections: int, asked_s: int) -> dict[str, Any]:
    """Return the ``rate`` part of a cell: right replies a second in whole windows after the ramp.

    At most the first half of the ``asked_s`` seconds counts as the ramp, also where a connection never got a reply.
    """
    windows = measured.windows_ok[: round(asked_s / WINDOW_S)]
    windows += [0] * (round(asked_s / WINDOW_S) - len(windows))
    whole = windows[:-1]  # the last is cut off somewhere
    half = len(whole) // 2
    ramped_up = len(measured.first_replies_s) >= connections
    begin = min(int(max(measured.first_replies_s) / WINDOW_S) + 1, half) if ramped_up else half
    steady = _without_pause_before_next_burst(whole[begin:], _at(measured.quantiles, 0.5) / 1000)
    steady_s = len(steady) * WINDOW_S
    return {
        "ok_per_s": round(sum(steady) / steady_s, 2),
        "replies_per_s": round(measured.replies_per_s, 2),
        "steady_s": round(steady_s, 1),
        "window_s": WINDOW_S,
        "windows_ok": measured.windows_ok,
    }


def ramp(measured: Measured, connections: int) -> dict[str, Any]:
    """Return the ``ramp`` part of a cell."""
    answered = measured.first_replies_s
    return {
        "connections": connections,
        "answered": len(answered),
        "all_answered_ms": round(max(answered) * 1000, 2) if len(answered) >= connections else None,
        "median_ms": round(median(answered) * 1000, 2) if answered else None,
    }


def latency(measured: Measured) -> dict[str, Any]:
    """Return the ``latency_ms`` part of a cell."""
    points = measured.quantiles
    return {
        "mean": round(measured.mean_ms, 4),
        **{
            name: _at(points, at)
            for name, at in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1))
        },
        "quantiles": points,
        "samples": measured.samples,
        "first_replies_removed": measured.first_replies_removed,
        "as_wrk_prints": measured.as_printed_ms,
    }


def outcomes(measured: Measured, observed: Observation | None, connections: int) -> tuple[dict[str, Any], str]:
    """Return how wrk's requests ended, and by whom that was told apart (``outcomes`` and ``outcomes_by``).

    wrk's read errors are of the one kind that the observer saw, or are shared out as it saw the kinds.
    """
    losses, by = _losses(measured, observed)
    unanswered = measured.sent - measured.replies - losses["reset"] - losses["refused"]
    return {
        # Late replies are complete and right, and nobody waited for them.
        "ok": max(0, measured.ok - measured.late),
        "wrong_body": measured.wrong_body,
        "status_4xx": _codes(measured.statuses, "4"),
        "status_5xx": _codes(measured.statuses, "5"),
        **losses,
        "timeout": measured.late,
        "in_flight": min(connections, max(0, unanswered)),
    }, by


def observed_outcomes(seen: Observation) -> dict[str, Any]:
    """Return how the observer's own requests ended, in the same form."""
    statuses = {str(code): count for code, count in seen.statuses.items()}
    return {
        "ok": seen.outcomes[Outcome.OK],
        "wrong_body": seen.outcomes[Outcome.WRONG_BODY],
        "status_4xx": _codes(statuses, "4"),
        "status_5xx": _codes(statuses, "5"),
        **_losses_seen(seen),
        "timeout": seen.outcomes[Outcome.TIMEOUT],
        "in_flight": seen.in_flight,
    }


def failures(ended: dict[str, Any]) -> dict[str, int]:
    """Return the failed requests of an ``outcomes`` part by class, those above zero; a code's class is its number."""
    by_class = {name: ended[name] for name in ("wrong_body", "refused", "reset", "timeout")}
    return {name: count for name, count in (by_class | ended["status_4xx"] | ended["status_5xx"]).items() if count}


def failed_fraction(ended: dict[str, Any]) -> float:
    failed = sum(failures(ended).values())
    return failed / (failed + ended["ok"]) if failed else 0.0


def fairness(seen: Observation) -> dict[str, Any]:
    """Return the ``fairness`` part of a cell."""
    counts = [connection.replies - connection.replies_in_ramp for connection in seen.connections]
    first = [connection.first_reply_s * 1000 for connection in seen.connections if connection.first_reply_s is not None]
    return {
        "duration_s": round(seen.duration_s, 3),
        "ramp_s": round(seen.ramp_s, 3),
        "connections": len(counts),
        "replies": _spread(counts),
        "jain": round(jain(counts), 4),
        "first_reply_ms": _spread(first) if first else None,
        "longest_gap_ms": round(seen.longest_gap_s * 1000, 1),
        "unanswered": sum(connection.replies == 0 for connection in seen.connections),
        "outcomes": observed_outcomes(seen),
    }


def jain(counts: Sequence[int]) -> float:
    """Return Jain's index of fairness: 1 when all are served alike, 1/n when one of n is served alone, 0 with none."""
    squares = sum(count * count for count in counts)
    return sum(counts) ** 2 / (len(counts) * squares) if squares else 0.0


def finds(counted: int | None, measured: Measured, connections: int) -> dict[str, Any]:
    """Return the ``finds`` part of a cell: whether the stack did one find for each request.

    A find belongs to a right reply, or to a request that was sent; what the warm-up had left in flight may still come.
    """
    sent = max(0, measured.sent - connections)  # each connection's first request needs no find
    if counted is None:
        verdict = "not counted"
    elif counted < measured.ok:
        verdict = "less"
    elif counted > sent + connections:
        verdict = "more"
    else:
        verdict = "equal"
    return {"counted": counted, "replies": measured.ok, "sent": sent, "verdict": verdict}


def unloaded(seen: Observation) -> dict[str, Any] | None:
    """Return the ``unloaded_ms`` part of a cell, None when too few replies came to speak of."""
    if len(seen.latencies_s) < 2:
        return None
    spread = _spread([latency_s * 1000 for latency_s in seen.latencies_s])
    return {"replies": len(seen.latencies_s), "p10": spread["p10"], "p50": spread["median"], "p90": spread["p90"]}


def _losses(measured: Measured, observed: Observation | None) -> tuple[dict[str, int], str]:
    none = dict.fromkeys(_LOSSES, 0)
    if not measured.lost:
        return none, "wrk"
    seen = {kind: count for kind, count in _losses_seen(observed).items() if count} if observed else {}
    if len(seen) <= 1:
        # What nobody saw is counted as what is worst for the stack.
        return {**none, next(iter(seen), "reset"): measured.lost}, "wrk and observer"
    if "refused" in seen:
        # wrk knocks at a closed port far more often than the observer does, but its replies end as the observer's do.
        replies = max(1, sum(connection.replies for connection in observed.connections)) if observed else 1
        shares = {
            kind: count / replies * measured.replies / measured.lost
            for kind, count in seen.items()
            if kind != "refused"
        }
        scale = max(1.0, sum(shares.values()))
        shares = {kind: share / scale for kind, share in shares.items()}
        shares["refused"] = 1 - sum(shares.values())
    else:
        shares = {kind: count / sum(seen.values()) for kind, count in seen.items()}
    return {**none, **_share_out(measured.lost, shares)}, "wrk, shared out as the observer saw it"


def _losses_seen(seen: Observation) -> dict[str, int]:
    counts = (seen.outcomes[Outcome.REFUSED], seen.outcomes[Outcome.RESET], seen.silent_closes)
    return dict(zip(_LOSSES, counts, strict=True))


def _share_out(total: int, shares: dict[str, float]) -> dict[str, int]:
    given = {kind: int(total * share) for kind, share in shares.items()}
    given[max(shares, key=lambda kind: shares[kind])] += total - sum(given.values())
    return given


def _without_pause_before_next_burst(windows: list[int], typical_s: float) -> list[int]:
    # Replies that take a second and were asked for together come together: then the pause after the last burst
    # belongs to replies that the end cut off, and would count against the rate. A longer silence is the server's own.
    end = len(windows)
    while end > 1 and windows[end - 1] == 0:
        end -= 1
    return windows[:end] if (len(windows) - end) * WINDOW_S <= typical_s else windows


def _codes(statuses: dict[str, int], first_digit: str) -> dict[str, int]:
    return {code: count for code, count in sorted(statuses.items()) if code.startswith(first_digit)}


def _at(points: list[list[float]], fraction: float) -> float:
    return next((ms for at, ms in points if at >= fraction - 1e-9), 0.0)


def _spread(values: Sequence[float]) -> dict[str, float]:
    tenths = quantiles(values, n=10, method="inclusive") if len(values) > 1 else [values[0]] * 9
    spread = {"least": min(values), "p10": tenths[0], "median": median(values), "p90": tenths[8], "most": max(values)}
    return {name: round(value, 3) for name, value in spread.items()}
