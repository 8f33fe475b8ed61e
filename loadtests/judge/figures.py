"""From what wrk, the observer, mongod and the kernel counted to a cell's figures."""

from collections.abc import Sequence
from statistics import mean, median, quantiles

from loadtests.results.cell import (
    Ceiling,
    Column,
    Cost,
    Costs,
    Fairness,
    Figures,
    Finds,
    Known,
    Latency,
    MachineUse,
    Outcomes,
    Ramp,
    Rate,
    Spread,
)
from loadtests.results.counts import WINDOW_S, Counts, Observation, Outcome, Usage, WrkCounts

# Ways to lose a connection that wrk counts as one and the same read error.
_LOSSES = ("refused", "reset", "closed_after_reply")


def figures(known: Known, column: Column, counts: Counts, fair: bool) -> Figures:
    """Return everything that follows from the counts; ``fair`` says that the plan asks how evenly all were served."""
    connections, finds_something = column.connections, column.endpoint != "sleep"
    alone = counts.alone.latencies_s
    return Figures(
        rate=rate(counts.wrk, connections),
        latency_ms=latency(counts.wrk),
        outcomes=outcomes(counts.wrk, counts.observed, connections),
        ramp=ramp(counts.wrk, connections),
        alone_ms=_spread([took_s * 1000 for took_s in alone]) if len(alone) > 1 else None,
        fairness=fairness(counts.observed) if counts.observed and fair else None,
        finds=finds(counts.finds if finds_something else None, counts.wrk, connections),
        cost=costs(counts),
        machine=machine(counts, known.apart),
        ceiling=ceiling(known.slots, connections, column.db_latency_ms) if finds_something else None,
    )


def rate(measured: WrkCounts, connections: int) -> Rate:
    """Return the right replies a second in whole windows after the ramp.

    At most the first half of what was asked for counts as the ramp, also where a connection never got a reply.
    """
    asked = round(measured.asked_s / WINDOW_S)
    windows = measured.windows_ok[:asked]
    windows += [0] * (asked - len(windows))
    whole = windows[:-1]  # the last is cut off somewhere
    half = len(whole) // 2
    ramped_up = len(measured.first_replies_s) >= connections
    begin = min(int(max(measured.first_replies_s) / WINDOW_S) + 1, half) if ramped_up else half
    steady = _without_pause_before_next_burst(whole[begin:], quantile_ms(measured, 0.5) / 1000)
    steady_s = len(steady) * WINDOW_S
    return Rate(ok_per_s=round(sum(steady) / steady_s, 2), steady_s=round(steady_s, 1))


def ramp(measured: WrkCounts, connections: int) -> Ramp:
    answered = measured.first_replies_s
    return Ramp(
        answered=len(answered),
        all_answered_ms=round(max(answered) * 1000, 2) if len(answered) >= connections else None,
        median_ms=round(median(answered) * 1000, 2) if answered else None,
    )


def latency(measured: WrkCounts) -> Latency:
    at = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
    points = {name: quantile_ms(measured, fraction) for name, fraction in at.items()}
    return Latency(mean=round(measured.mean_ms, 4), **points)


def quantile_ms(measured: WrkCounts, fraction: float) -> float:
    """Return the latency that this fraction of the replies did not exceed; 0 where there was no reply."""
    return next((ms for at, ms in measured.quantiles if at >= fraction - 1e-9), 0.0)


def outcomes(measured: WrkCounts, observed: Observation | None, connections: int) -> Outcomes:
    """Return how wrk's requests ended.

    wrk's read errors are of the one kind that the observer saw, or are shared out as it saw the kinds.
    """
    losses, told_by = _losses(measured, observed)
    unanswered = measured.sent - measured.replies - losses["reset"] - losses["refused"]
    return Outcomes.model_validate(
        {
            # Late replies are complete and right, and nobody waited for them.
            "ok": max(0, measured.ok - measured.late),
            "wrong_body": measured.wrong_body,
            "status_4xx": _codes(measured.statuses, "4"),
            "status_5xx": _codes(measured.statuses, "5"),
            **losses,
            "timeout": measured.late,
            "in_flight": min(connections, max(0, unanswered)),
            "told_by": told_by,
        }
    )


def fairness(seen: Observation) -> Fairness:
    return Fairness(
        duration_s=round(seen.duration_s, 3),
        ramp_s=round(seen.ramp_s, 3),
        replies=_spread(seen.replies),
        jain=round(jain(seen.replies), 4),
        longest_gap_ms=round(seen.longest_gap_s * 1000, 1),
        unanswered=seen.unanswered,
    )


def jain(counts: Sequence[int]) -> float:
    """Return Jain's index of fairness: 1 when all are served alike, 1/n when one of n is served alone, 0 with none."""
    squares = sum(count * count for count in counts)
    return sum(counts) ** 2 / (len(counts) * squares) if squares else 0.0


def finds(counted: int | None, measured: WrkCounts, connections: int) -> Finds:
    """Return whether the stack did one find for each request.

    A find belongs to a right reply, or to a request that was sent; what the warm-up had left in flight may still come.
    """
    sent = max(0, measured.sent - connections)  # each connection's first request needs no find
    if counted is None:
        return Finds(counted=None, replies=measured.ok, sent=sent, verdict="not counted")
    verdict = "less" if counted < measured.ok else "more" if counted > sent + connections else "equal"
    return Finds.model_validate({"counted": counted, "replies": measured.ok, "sent": sent, "verdict": verdict})


def costs(counts: Counts) -> Costs:
    """Return what each part used for a reply and for a second."""
    wall_s, replies = counts.wall_s, counts.wrk.replies
    return Costs(
        server=_cost(counts.server, wall_s, replies),
        database=_cost(counts.database, wall_s, replies) if counts.database else None,
        load=_cost(counts.load, wall_s, replies),
        bench_cores=round(counts.bench_s / wall_s, 4),
    )


def machine(counts: Counts, apart: bool) -> MachineUse:
    """Return what the server's machine did; when ``apart`` the other parts have used another one."""
    times = counts.machine
    ours_s = counts.server.cpu_s
    if not apart:
        ours_s += counts.load.cpu_s + (counts.database.cpu_s if counts.database else 0) + counts.bench_s
    busy_s = times.total_s - times.idle_s - times.steal_s
    total_s = max(times.total_s, 1e-9)
    return MachineUse(
        busy=_fraction(busy_s / total_s),
        steal=_fraction(times.steal_s / total_s),
        others=_fraction((busy_s - ours_s) / total_s),
        mhz=times.mhz,
    )


def ceiling(slots: int | None, connections: int, db_latency_ms: int) -> Ceiling | None:
    """Return Little's law, with the latency that was injected alone; None where it does not apply."""
    if not db_latency_ms or slots is None:
        return None
    at_once = min(slots, connections)
    per_s = at_once * 1000 / db_latency_ms
    return Ceiling(
        per_s=round(per_s, 2),
        slots=at_once,
        text=f"{at_once} at once / {db_latency_ms} ms = {per_s:,.0f} a second at most",
    )


def _cost(used: Usage, wall_s: float, replies: int) -> Cost:
    def per_request(seconds: float) -> float | None:
        return round(seconds * 1000 / replies, 5) if replies else None

    return Cost(
        cores=round(used.cpu_s / wall_s, 4),
        cpu_ms_per_request=per_request(used.cpu_s),
        user_ms_per_request=per_request(used.user_s),
        system_ms_per_request=per_request(used.system_s),
        pss_peak_bytes=max(used.pss_bytes, default=None),
        pss_mean_bytes=round(mean(used.pss_bytes)) if used.pss_bytes else None,
        cores_by_process=[round(cpu_s / wall_s, 4) for cpu_s in used.cpu_s_by_process],
    )


def _losses(measured: WrkCounts, observed: Observation | None) -> tuple[dict[str, int], str]:
    none = dict.fromkeys(_LOSSES, 0)
    if not measured.lost:
        return none, "wrk"
    seen = {kind: count for kind, count in _losses_seen(observed).items() if count} if observed else {}
    if len(seen) <= 1:
        # What nobody saw is counted as what is worst for the stack.
        return {**none, next(iter(seen), "reset"): measured.lost}, "wrk and observer"
    if "refused" in seen:
        # wrk knocks at a closed port far more often than the observer does, but its replies end as the observer's do.
        replies = max(1, observed.complete) if observed else 1
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
    counts = (seen.outcomes.get(Outcome.REFUSED, 0), seen.outcomes.get(Outcome.RESET, 0), seen.silent_closes)
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


def _fraction(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 4)


def _spread(values: Sequence[float]) -> Spread:
    tenths = quantiles(values, n=10, method="inclusive") if len(values) > 1 else [values[0]] * 9
    spread = {"least": min(values), "p10": tenths[0], "median": median(values), "p90": tenths[8], "most": max(values)}
    return Spread(**{name: round(value, 3) for name, value in spread.items()})
