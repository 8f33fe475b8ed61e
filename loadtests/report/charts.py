"""The report's charts: rows in, an Altair chart out. Each takes the width that it may fill, in pixels.

A row's ``entrant`` is its line of the chart, ``says`` its tooltip, ``connections`` its place within the line.
"""

from collections.abc import Sequence
from math import log10
from typing import Any

import altair as alt

from loadtests.report.drawing import NARROW, PALETTE, Chart, colour

Rows = Sequence[dict[str, Any]]

MODELS = ("processes", "threads", "events")
FAILURES = {
    "wrong_body": ("wrong-body", "wrong body"),
    "4xx": ("status-4xx", "status 4xx"),
    "5xx": ("status-5xx", "status 5xx"),
    "refused": ("refused", "connection refused"),
    "reset": ("reset", "reset before a complete reply"),
    "timeout": ("timeout", "later than the timeout"),
}
PARTS = {"server": "server", "database": "database", "load": "load generator"}
ENDPOINTS = {"mongo": ("events", "small document"), "mongo_big": ("threads", "big document"), "sleep": ("processes", "/sleep")}
IN_2014 = {
    "right": ("article", "answered, and counted so"),
    "closed": ("closed", "answered in full, then closed: drawn as failed"),
    "status": ("status-5xx", "error status"),
    "lost": ("reset", "connection lost"),
    "late": ("timeout", "later than wrk's 2 s"),
}
_BAR_PX = 15
_LINE_PX = 30
# Percentiles on the axis of a latency curve, which gives each further nine the same room.
_NINES = {0.5: "50", 0.9: "90", 0.99: "99", 0.999: "99.9", 0.9999: "99.99"}
_SMALL = 11


def rates(rows: Rows, width: int) -> Chart:
    """Draw right replies a second with their intervals, a grey tick at what the article had.

    Rows: ``model``, ``per_s``, ``low``, ``high``, ``article_per_s``, ``text``.
    """
    most = max((max(row["per_s"], row["high"] or 0, row["article_per_s"] or 0) for row in rows), default=1)
    base = _lines(rows, width)
    end = most * _room_for_text(width)
    x = alt.X("per_s:Q", title="right replies a second", scale=alt.Scale(domain=[0, end], nice=False))
    return _fit(
        alt.layer(
            base.mark_bar(height={"band": 0.72}).encode(x=x, color=_models(), opacity=_connections(rows), description="says:N"),
            _known(base, "low").mark_rule(strokeWidth=1.5, color=colour("ink")).encode(x="low:Q", x2="high:Q"),
            _known(base, "article_per_s").mark_tick(thickness=3, color=colour("article"), height={"band": 0.95}).encode(
                x="article_per_s:Q", description="article_says:N"
            ),
            # At the edge, where no interval and no grey mark can be taken for the figure's own.
            base.mark_text(align="right", fontSize=_SMALL).encode(x=alt.datum(end), text="text:N"),
        ),
        width,
    )


def failures(rows: Rows, width: int) -> Chart:
    """Draw the failed requests by class, in percent. Rows: ``kind`` (of FAILURES), ``percent``."""
    return _fit(
        _lines(rows, width)
        .mark_bar(height={"band": 0.72})
        .encode(
            x=alt.X("percent:Q", title="failed requests, %", stack="zero"),
            color=_named({kind: name for kind, (name, _) in FAILURES.items()}, "kind"),
            description="says:N",
        ),
        width,
    )


def latency_spans(rows: Rows, width: int) -> Chart:
    """Draw where the replies lie: bands for the middle 50 and 80 %, marks at p50, p99, p99.9 and the slowest.

    Rows: ``model``, ``p0``, ``p10``, ``p25``, ``p50``, ``p75``, ``p90``, ``p99``, ``p999``, ``max``, all in ms.
    """
    base = _lines(rows, width)
    least, most = min(row["p0"] for row in rows if row["p0"]), max(max(row["max"], row["article_ms"] or 0) for row in rows)
    x = alt.X(**_log("latency, ms (a logarithmic scale)", "p0", least, most))

    def band(low: str, high: str, opacity: float) -> alt.Chart:
        return base.mark_bar(height={"band": 0.6}, opacity=opacity).encode(
            x=alt.X(f"{low}:Q"), x2=f"{high}:Q", color=_models(), description="says:N"
        )

    def mark(at: str, **how: Any) -> alt.Chart:
        return base.mark_point(size=34, opacity=1, strokeWidth=1.5, **how).encode(
            x=f"{at}:Q", color=_models(), description="says:N"
        )

    return _fit(
        alt.layer(
            base.mark_rule(strokeWidth=1).encode(x=x, x2="max:Q", color=_models()),
            band("p10", "p90", 0.35),
            band("p25", "p75", 0.85),
            base.mark_tick(thickness=2, color=colour("ink"), height={"band": 0.8}).encode(x="p50:Q", description="says:N"),
            mark("p99", filled=True),
            mark("p999", filled=False, fill=colour("paper")),
            base.mark_tick(thickness=1.5, height={"band": 0.45}).encode(x="max:Q", color=_models(), description="says:N"),
            _known(base, "article_ms").mark_tick(thickness=3, color=colour("article"), height={"band": 0.95}).encode(
                x="article_ms:Q", description="article_says:N"
            ),
        ),
        width,
    )


def latency_curves(rows: Rows, width: int) -> Chart:
    """Draw the whole distribution, a panel for each entrant. Rows: ``endpoint``, ``fraction`` (below 1), ``ms``."""
    points = [{**row, "nines": -log10(1 - row["fraction"])} for row in rows]
    marks = {round(-log10(1 - fraction), 4): name for fraction, name in _NINES.items()}
    names = " : ".join(f"abs(datum.value - {at}) < 0.01 ? '{name}'" for at, name in marks.items())
    x = alt.X(
        "nines:Q",
        title=None,
        scale=alt.Scale(domain=[0, 4]),
        axis=alt.Axis(values=list(marks), labelExpr=f"{names} : ''", labelFontSize=9, labelOverlap=False, labelPadding=3),
    )
    y = alt.Y(**_log(None, "ms", min(row["ms"] for row in rows), max(row["ms"] for row in rows), labelFontSize=10))
    line = alt.Chart(_data(points)).mark_line(strokeWidth=2, interpolate="monotone").encode(x=x, y=y, color=_endpoints())
    return _panels(line, rows, width, height=84)


def spans(rows: Rows, width: int, title: str, scale: str = "linear") -> Chart:
    """Draw ``least`` to ``most`` thin, ``p10`` to ``p90`` thick, a tick at ``median``; ``text`` at the end."""
    base = _lines(rows, width)
    most = max((row["most"] for row in rows), default=1) or 1
    room = _room_for_text(width) ** (2 if scale == "sqrt" else 1)
    x = alt.X("least:Q", title=title, scale=alt.Scale(type=scale, domain=[0, most * room], nice=False))
    return _fit(
        alt.layer(
            base.mark_rule(strokeWidth=1.5).encode(x=x, x2="most:Q", color=_models(), description="says:N"),
            base.mark_bar(height={"band": 0.5}, opacity=0.85).encode(x="p10:Q", x2="p90:Q", color=_models(), description="says:N"),
            base.mark_tick(thickness=2, color=colour("ink"), height={"band": 0.8}).encode(x="median:Q"),
            base.mark_text(align="left", dx=7, fontSize=_SMALL).encode(x="most:Q", text="text:N"),
        ),
        width,
    )


def amounts(rows: Rows, width: int, title: str) -> Chart:
    """Draw one amount for each line and number of connections. Rows: ``model``, ``amount``, ``text``."""
    base = _lines(rows, width)
    most = max((row["amount"] for row in rows), default=1) or 1
    x = alt.X("amount:Q", title=title, scale=alt.Scale(domain=[0, most * _room_for_text(width)], nice=False))
    return _fit(
        alt.layer(
            base.mark_bar(height={"band": 0.72}).encode(x=x, color=_models(), opacity=_connections(rows), description="says:N"),
            base.mark_text(align="left", dx=5, fontSize=_SMALL).encode(x="amount:Q", text="text:N"),
        ),
        width,
    )


def processor_time(rows: Rows, width: int) -> Chart:
    """Draw CPU milliseconds for each request, split. Rows: ``part`` (of PARTS), ``ms``."""
    order = list(PARTS)
    stacked = [{**row, "place": order.index(row["part"])} for row in rows]
    return _fit(
        _lines(stacked, width)
        .mark_bar(height={"band": 0.72})
        .encode(
            x=alt.X("ms:Q", title="CPU ms for each request", stack="zero"),
            color=_named({part: part for part in PARTS}, "part"),
            order=alt.Order("place:Q"),
            description="says:N",
        ),
        width,
    )


def switches(rows: Rows, width: int) -> Chart:
    """Draw context switches for each request: given up (dark) and taken away (pale). Rows: ``kind``, ``amount``."""
    shade = alt.Opacity("kind:N", scale=alt.Scale(domain=["voluntary", "involuntary"], range=[1, 0.4]), legend=None)
    return _fit(
        _lines(rows, width)
        .mark_bar(height={"band": 0.72})
        .encode(
            x=alt.X("amount:Q", title="context switches for each request", stack="zero"),
            color=_models(),
            opacity=shade,
            order=alt.Order("kind:N", sort="descending"),
            description="says:N",
        ),
        width,
    )


def slow_database(rows: Rows, ceilings: Rows, width: int) -> Chart:
    """Draw right replies a second against the latency added to each find, a panel for each entrant.

    Rows and ceilings: ``latency_ms``, ``per_s``; rows: ``model``. The dashed line is slots / latency.
    """
    latest = max(row["latency_ms"] for row in rows)
    highest = max(row["per_s"] for row in [*rows, *ceilings])
    scale = alt.Scale(domain=[0, highest * 1.05], nice=False)
    y = alt.Y("per_s:Q", title=None, scale=scale, axis=_thousands(labelFontSize=10, tickCount=4))
    x = alt.X(
        "latency_ms:Q",
        title=None,
        scale=alt.Scale(domain=[0, latest], nice=False),
        axis=alt.Axis(values=sorted({row["latency_ms"] for row in rows}), labelFontSize=10, labelOverlap="greedy", labelPadding=3),
    )
    # One source for all layers: only so can they be laid out in panels.
    joined = [{**row, "is": "measured"} for row in rows] + [{**row, "is": "ceiling", "says": ""} for row in ceilings]
    base = alt.Chart(_data(joined)).encode(x=x, y=y)
    measured = base.transform_filter("datum.is == 'measured'").encode(color=_models())
    layers = alt.layer(
        base.transform_filter("datum.is == 'ceiling'").mark_line(strokeDash=[4, 3], strokeWidth=1.5, color=colour("muted")),
        measured.mark_line(strokeWidth=2),
        measured.mark_point(filled=True, size=46, opacity=1).encode(description="says:N"),
    )
    return _panels(layers, rows, width, height=96)


def in_2014(rows: Rows, width: int) -> Chart:
    """Draw the article's requests as they truly ended. Rows: ``kind`` (of IN_2014), ``requests``."""
    return _fit(
        _lines(rows, width)
        .mark_bar(height={"band": 0.78})
        .encode(
            x=alt.X("requests:Q", title="requests in 30 s", stack="zero", axis=_thousands()),
            color=_named({kind: name for kind, (name, _) in IN_2014.items()}, "kind"),
            order=alt.Order("place:Q"),
            description="says:N",
        ),
        width,
    )


def _lines(rows: Rows, width: int) -> alt.Chart:
    """Return a chart with a line for each entrant, and in it a bar for each number of connections."""
    axis = alt.Axis(labelExpr=_on_two_lines("datum.label") if width <= NARROW else "datum.label", labelLineHeight=12)
    chart = alt.Chart(_data(rows)).encode(y=alt.Y("entrant:N", sort=_order(rows), title=None, axis=axis))
    several = sorted({row["connections"] for row in rows})
    if len(several) < 2:
        return chart.properties(height=alt.Step(_LINE_PX))
    # The room is for one bar, not for the whole line; marks that are no bars stand in the middle of it.
    within = alt.YOffset("connections:O", sort=several, bandPosition=0.5)
    return chart.encode(yOffset=within).properties(height={"step": _BAR_PX, "for": "offset"})


def _panels(chart: alt.Chart | alt.LayerChart, rows: Rows, width: int, height: int) -> Chart:
    columns = 2 if width <= NARROW else 3
    axis_px, gap_px = 34, 14
    panel_px = (width - axis_px - columns * gap_px) // columns
    facet = alt.Facet(
        "entrant:N",
        sort=_order(rows),
        title=None,
        header=alt.Header(labelAnchor="start", labelExpr=_on_two_lines("datum.value"), labelPadding=4),
    )
    return chart.properties(width=panel_px, height=height).facet(facet=facet, columns=columns, spacing=gap_px).resolve_axis(x="independent")


def _on_two_lines(label: str) -> str:
    return f"split(replace({label}, ' [', '|['), '|')"


def _fit(chart: alt.Chart | alt.LayerChart, width: int) -> Chart:
    return chart.properties(width=width, autosize=alt.AutoSizeParams(type="fit-x", contains="padding"), padding=1)


def _known(chart: alt.Chart, field: str) -> alt.Chart:
    return chart.transform_filter(f"isValid(datum.{field})")


def _order(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["entrant"] for row in rows))


def _data(rows: Rows) -> alt.InlineData:
    return alt.Data(values=list(rows))


def _named(names: dict[str, str], field: str) -> alt.Color:
    scale = alt.Scale(domain=list(names), range=[PALETTE[name][0] for name in names.values()])
    return alt.Color(f"{field}:N", scale=scale, legend=None)


def _models() -> alt.Color:
    return _named({model: model for model in MODELS}, "model")


def _endpoints() -> alt.Color:
    return _named({endpoint: name for endpoint, (name, _) in ENDPOINTS.items()}, "endpoint")


def _connections(rows: Rows) -> alt.Opacity | alt.OpacityValue:
    several = sorted({row["connections"] for row in rows})
    if len(several) < 2:
        return alt.value(0.9)
    shades = [1 - 0.65 * place / (len(several) - 1) for place in range(len(several))]
    return alt.Opacity("connections:O", scale=alt.Scale(domain=several, range=shades), legend=None)


def _log(title: str | None, field: str, least: float, most: float, **axis: Any) -> dict[str, Any]:
    """Return what makes a logarithmic axis from below ``least`` to above ``most``, with whole decades on it."""
    low, high = least * 0.9, most * 1.1
    decades = [10.0**power for power in range(-3, 7) if low <= 10.0**power <= high]
    # Within one decade there may be no power of ten to show.
    values = decades if len(decades) > 1 else [mantissa * 10.0**power for power in range(-3, 7) for mantissa in (1, 2, 5)]
    labels = "datum.value < 1 ? '' + datum.value : format(datum.value, ',')"
    return {
        "shorthand": f"{field}:Q",
        "title": title,
        "scale": alt.Scale(type="log", domain=[low, high], nice=False, clamp=True),
        "axis": alt.Axis(values=[value for value in values if low <= value <= high], labelExpr=labels, **axis),
    }


def _thousands(**how: Any) -> alt.Axis:
    return alt.Axis(labelExpr="datum.value ? format(datum.value, '~s') : '0'", **how)


def _room_for_text(width: int) -> float:
    return 1.35 if width <= NARROW else 1.2
