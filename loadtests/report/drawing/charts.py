"""The report's charts: rows in, an Altair chart out. Each takes the width that it may fill, in pixels.

A row's ``entrant`` and ``connections`` say on which line of the chart it is, ``says`` is its tooltip.
"""

# Altair declares much of what its chained methods return as Any.
# mypy: disable-error-code="no-any-return"

from collections.abc import Sequence
from math import log10
from typing import Any, Literal

import altair as alt

from loadtests.report.drawing.svg import NARROW, Chart, colour

Rows = Sequence[dict[str, Any]]

MODELS = {"processes": "a process for each request", "threads": "threads", "events": "an event loop"}
# What is drawn in which colour, and how the legend calls it.
FAILURES = {
    "wrong_body": ("wrong-body", "wrong body"),
    "4xx": ("status-4xx", "status 4xx"),
    "5xx": ("status-5xx", "status 5xx"),
    "refused": ("refused", "connection refused"),
    "reset": ("reset", "reset before a complete reply"),
    "timeout": ("timeout", "later than the timeout"),
}
PARTS = {"server": ("server", "server"), "database": ("database", "database"), "load": ("load", "load generator")}
ENDPOINTS = {
    "mongo": ("events", "small document"),
    "mongo_big": ("threads", "big document"),
    "sleep": ("processes", "/sleep"),
}
IN_2014 = {
    "right": ("article", "answered, and counted so"),
    "closed": ("closed", "answered in full, then closed: drawn as failed"),
    "status": ("status-5xx", "error status"),
    "lost": ("reset", "connection lost"),
    "late": ("timeout", "later than wrk's 2 s"),
}
_LINE_PX, _LINE_OF_SEVERAL_PX = 30, 15
_SMALL, _SMALLER = 11, 10
# Percentiles on the axis of a latency curve, which gives each further nine the same room.
_PERCENTILES = {0.5: "50", 0.9: "90", 0.99: "99", 0.999: "99.9", 0.9999: "99.99"}
_SAYS = "says:N"
_AXIS = alt.Axis()


def rates(rows: Rows, width: int) -> Chart:
    """Draw right replies a second with their intervals, and a grey mark at what the article had.

    Rows: ``model``, ``per_s``, ``low``, ``high``, ``article_per_s``, ``article_says``, ``text``.
    """
    end = _room_for_text(max(row[name] or 0 for row in rows for name in ("per_s", "high", "article_per_s")), width)
    base = _lines(rows, width)
    interval, in_2014 = _known(base, "low"), _known(base, "article_per_s")
    return _fit(
        alt.layer(
            _bars(base, rows).encode(x=_x("per_s", "right replies a second", end)),
            interval.mark_rule(strokeWidth=1.5, color=colour("ink")).encode(x="low:Q", x2="high:Q"),
            _mark_of_2014(in_2014).encode(x="article_per_s:Q", description="article_says:N"),
            # At the edge, where no interval and no grey mark can be taken for the figure's own.
            base.mark_text(align="right", fontSize=_SMALL).encode(x=alt.datum(end), text="text:N"),
        ),
        width,
    )


def amounts(rows: Rows, width: int, title: str) -> Chart:
    """Draw one amount on each line. Rows: ``model``, ``amount``, ``text``."""
    end = _room_for_text(max(row["amount"] for row in rows), width)
    base = _lines(rows, width)
    text = base.mark_text(align="left", dx=5, fontSize=_SMALL).encode(x="amount:Q", text="text:N")
    return _fit(alt.layer(_bars(base, rows).encode(x=_x("amount", title, end)), text), width)


def failures(rows: Rows, width: int) -> Chart:
    """Draw the failed requests by class, in percent. Rows: ``kind`` (of FAILURES), ``amount``."""
    return _stacked(rows, width, "failed requests, %", FAILURES)


def processor_time(rows: Rows, width: int) -> Chart:
    """Draw CPU milliseconds for each request. Rows: ``kind`` (of PARTS), ``amount``."""
    return _stacked(rows, width, "CPU ms for each request", PARTS)


def in_2014(rows: Rows, width: int) -> Chart:
    """Draw the article's requests as they truly ended. Rows: ``kind`` (of IN_2014), ``amount``."""
    return _stacked(rows, width, "requests in 30 s", IN_2014, _thousands())


def switches(rows: Rows, width: int) -> Chart:
    """Draw context switches for each request: given up (dark) and taken away (pale). Rows: ``kind``, ``amount``."""
    shade = alt.Scale(domain=["voluntary", "involuntary"], range=[1, 0.4])
    bars = _lines(rows, width).mark_bar(height={"band": 0.72})
    return _fit(
        bars.encode(
            x=alt.X("amount:Q", title="context switches for each request", stack="zero"),
            color=_models(),
            opacity=alt.Opacity("kind:N", scale=shade, legend=None),
            order=alt.Order("kind:N", sort="descending"),
            description=_SAYS,
        ),
        width,
    )


def latency_spans(rows: Rows, width: int) -> Chart:
    """Draw where the replies lie: bands for the middle 50 and 80 %, marks at p50, p99, p99.9 and the slowest.

    Rows: ``model``; ``p0``, ``p10``, ``p25``, ``p50``, ``p75``, ``p90``, ``p99``, ``p999``, ``max`` and ``article_ms``.
    """
    base = _lines(rows, width)
    least = min((row["p0"] for row in rows if row["p0"]), default=0.001)
    most = max(row[name] or 0 for row in rows for name in ("max", "article_ms"))
    x = alt.X(**_logarithmic("p0", "latency, ms (a logarithmic scale)", least, most))
    coloured = base.encode(color=_models(), description=_SAYS)
    band, point = coloured.mark_bar, coloured.mark_point
    return _fit(
        alt.layer(
            coloured.mark_rule(strokeWidth=1).encode(x=x, x2="max:Q"),
            band(height={"band": 0.6}, opacity=0.35).encode(x="p10:Q", x2="p90:Q"),
            band(height={"band": 0.6}, opacity=0.85).encode(x="p25:Q", x2="p75:Q"),
            base.mark_tick(thickness=2, color=colour("ink"), height={"band": 0.8}).encode(x="p50:Q"),
            point(size=34, opacity=1, filled=True).encode(x="p99:Q"),
            point(size=34, opacity=1, filled=False, fill=colour("paper"), strokeWidth=1.5).encode(x="p999:Q"),
            coloured.mark_tick(thickness=1.5, height={"band": 0.45}).encode(x="max:Q"),
            _mark_of_2014(_known(base, "article_ms")).encode(x="article_ms:Q", description="article_says:N"),
        ),
        width,
    )


def latency_curves(rows: Rows, width: int) -> Chart:
    """Draw the whole distribution, a panel for each entrant. Rows: ``endpoint``, ``fraction`` (below 1), ``ms``."""
    points = [{**row, "nines": -log10(1 - row["fraction"])} for row in rows]
    places = {-log10(1 - fraction): name for fraction, name in _PERCENTILES.items()}
    names = " : ".join(f"abs(datum.value - {place}) < 0.01 ? '{name}'" for place, name in places.items())
    axis = alt.Axis(values=list(places), labelExpr=f"{names} : ''", labelFontSize=_SMALLER, labelOverlap=True)
    low, high = min(row["ms"] for row in rows), max(row["ms"] for row in rows)
    lines = alt.Chart(_data(points)).mark_line(strokeWidth=2, interpolate="monotone")
    return _panels(
        lines.encode(
            x=alt.X("nines:Q", title=None, scale=alt.Scale(domain=[0, max(places)]), axis=axis),
            y=alt.Y(**_logarithmic("ms", None, low, high, labelFontSize=_SMALLER)),
            color=_colours("endpoint", {endpoint: name for endpoint, (name, _) in ENDPOINTS.items()}),
        ),
        rows,
        width,
        height_px=84,
    )


def shares(rows: Rows, width: int, title: str) -> Chart:
    """Draw ``least`` to ``most`` thin, ``p10`` to ``p90`` thick, a mark at ``median``; ``text`` at the end.

    The scale is a square root's, which has a place for 0 and room for many times the median.
    """
    base = _lines(rows, width)
    most = max(row["most"] for row in rows) or 1
    scale: Literal["sqrt"] = "sqrt"
    # Room for the text is a share of the width, and so of the root.
    x = _x("least", title, _room_for_text(_room_for_text(most, width), width), type=scale)
    coloured = base.encode(color=_models(), description=_SAYS)
    return _fit(
        alt.layer(
            coloured.mark_rule(strokeWidth=1.5).encode(x=x, x2="most:Q"),
            coloured.mark_bar(height={"band": 0.5}, opacity=0.85).encode(x="p10:Q", x2="p90:Q"),
            base.mark_tick(thickness=2, color=colour("ink"), height={"band": 0.8}).encode(x="median:Q"),
            base.mark_text(align="left", dx=7, fontSize=_SMALL).encode(x="most:Q", text="text:N"),
        ),
        width,
    )


def slow_database(rows: Rows, ceilings: Rows, width: int) -> Chart:
    """Draw right replies a second against the latency added to each find, a panel for each entrant.

    Rows and ceilings: ``latency_ms``, ``per_s``; rows: ``model``. The dashed line is the ceiling.
    """
    # One source for all layers: only so can they be laid out in panels.
    joined = [{**row, "is": "measured"} for row in rows] + [{**row, "is": "ceiling"} for row in ceilings]
    latencies = sorted({row["latency_ms"] for row in rows})
    highest = max(row["per_s"] for row in joined) or 1
    small: dict[str, Any] = {"labelFontSize": _SMALLER}
    base = alt.Chart(_data(joined)).encode(
        x=alt.X(
            "latency_ms:Q",
            title=None,
            scale=alt.Scale(domain=[0, latencies[-1]], nice=False),
            axis=alt.Axis(values=latencies, **small),
        ),
        y=alt.Y(
            "per_s:Q",
            title=None,
            scale=alt.Scale(domain=[0, highest * 1.05], nice=False),
            axis=_thousands(tickCount=4, **small),
        ),
    )
    ceiling = base.transform_filter("datum.is == 'ceiling'")
    measured = base.transform_filter("datum.is == 'measured'").encode(color=_models())
    return _panels(
        alt.layer(
            ceiling.mark_line(strokeDash=[4, 3], strokeWidth=1.5, color=colour("muted")),
            measured.mark_line(strokeWidth=2),
            measured.mark_point(filled=True, size=46, opacity=1).encode(description=_SAYS),
        ),
        rows,
        width,
        height_px=96,
    )


def _stacked(rows: Rows, width: int, title: str, kinds: dict[str, tuple[str, str]], axis: alt.Axis = _AXIS) -> Chart:
    places = list(kinds)
    ordered = [{**row, "place": places.index(row["kind"])} for row in rows]
    x = alt.X("amount:Q", title=title, stack="zero", axis=axis)
    bars = _lines(ordered, width).mark_bar(height={"band": 0.72})
    colours = _colours("kind", {kind: name for kind, (name, _) in kinds.items()})
    return _fit(bars.encode(x=x, color=colours, order=alt.Order("place:Q"), description=_SAYS), width)


def _lines(rows: Rows, width: int) -> alt.Chart:
    """Return a chart with a line for each entrant and number of connections, named at the entrant's middle one.

    Vega has offsets within a line for this, but sets its marks that are no bars beside them.
    """
    several = sorted({row["connections"] for row in rows})
    lines = [f"{entrant}|{count}" for entrant in _entrants(rows) for count in [*several, *["gap"] * (len(several) > 1)]]
    name, middle = "split(datum.label, '|')[0]", several[(len(several) - 1) // 2]
    shown = _on_two_lines(name) if width <= NARROW else name
    axis = alt.Axis(labelExpr=f"split(datum.label, '|')[1] == '{middle}' ? {shown} : ''", labelLineHeight=12)
    placed = [{**row, "line": f"{row['entrant']}|{row['connections']}"} for row in rows]
    return (
        alt.Chart(_data(placed))
        .encode(y=alt.Y("line:N", title=None, axis=axis, scale=alt.Scale(domain=lines)))
        .properties(height=alt.Step(_LINE_PX if len(several) == 1 else _LINE_OF_SEVERAL_PX))
    )


def _panels(chart: Chart, rows: Rows, width: int, height_px: int) -> Chart:
    columns = 2 if width <= NARROW else 3
    axis_px, gap_px = 34, 14
    header = alt.Header(labelAnchor="start", labelExpr=_on_two_lines("datum.value"), labelPadding=4)
    facet = alt.Facet("entrant:N", sort=_entrants(rows), title=None, header=header)
    panel = chart.properties(width=(width - axis_px - columns * gap_px) // columns, height=height_px)
    return panel.facet(facet=facet, columns=columns, spacing=gap_px).resolve_axis(x="independent")


def _fit(chart: Chart, width: int) -> Chart:
    fit = alt.AutoSizeParams(type="fit-x", contains="padding")
    return chart.properties(width=width, autosize=fit, padding={"left": 1, "top": 4, "right": 8, "bottom": 1})


def _bars(base: alt.Chart, rows: Rows) -> alt.Chart:
    """Draw bars in the colour of the model, paler with more connections."""
    several = sorted({row["connections"] for row in rows})
    bars = base.mark_bar(height={"band": 0.72}).encode(color=_models(), description=_SAYS)
    if len(several) == 1:
        return bars
    shades = [1 - 0.65 * place / (len(several) - 1) for place in range(len(several))]
    return bars.encode(opacity=alt.Opacity("connections:O", scale=alt.Scale(domain=several, range=shades), legend=None))


def _mark_of_2014(chart: alt.Chart) -> alt.Chart:
    edge, band = colour("paper"), {"band": 0.95}
    return chart.mark_tick(thickness=5, color=colour("article"), stroke=edge, strokeWidth=1, height=band)


def _known(chart: alt.Chart, field: str) -> alt.Chart:
    return chart.transform_filter(f"isValid(datum.{field})")


def _entrants(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["entrant"] for row in rows))


def _data(rows: Rows) -> alt.InlineData:
    return alt.InlineData(values=list(rows))


def _on_two_lines(label: str) -> str:
    return f"split(replace({label}, ' [', '|['), '|')"


def _models() -> alt.Color:
    return _colours("model", {model: model for model in MODELS})


def _colours(field: str, names: dict[str, str]) -> alt.Color:
    scale = alt.Scale(domain=list(names), range=[colour(name) for name in names.values()])
    return alt.Color(f"{field}:N", scale=scale, legend=None)


def _x(field: str, title: str, end: float, **scale: Any) -> alt.X:
    return alt.X(f"{field}:Q", title=title, scale=alt.Scale(domain=[0, end], nice=False, **scale))


def _logarithmic(field: str, title: str | None, least: float, most: float, **axis: Any) -> dict[str, Any]:
    """Return a logarithmic axis from below ``least`` to above ``most``."""
    low, high = least * 0.9, most * 1.1
    decades = [10.0**power for power in range(-3, 7)]
    if sum(low <= decade <= high for decade in decades) < 2:
        decades = [first * decade for decade in decades for first in (1, 2, 5)]
    labels = "datum.value < 1 ? '' + datum.value : format(datum.value, ',')"
    return {
        "shorthand": f"{field}:Q",
        "title": title,
        "scale": alt.Scale(type="log", domain=[low, high], nice=False, clamp=True),
        "axis": alt.Axis(values=[value for value in decades if low <= value <= high], labelExpr=labels, **axis),
    }


def _thousands(**axis: Any) -> alt.Axis:
    return alt.Axis(labelExpr="datum.value ? format(datum.value, '~s') : '0'", **axis)


def _room_for_text(most: float, width: int) -> float:
    """Return the end of an axis on which the text after the longest bar has room."""
    return (most or 1) * (1.35 if width <= NARROW else 1.2)
