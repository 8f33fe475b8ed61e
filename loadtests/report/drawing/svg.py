"""From an Altair chart to SVG that lives in the page: in the page's colours, with tooltips, without a script.

Vega draws here and not in the reader's browser: nothing can fail there, it prints, and the page works from disk.
"""

import re
from xml.etree import ElementTree

import altair
import vl_convert

# Every colour of the page: in daylight and in the dark. Charts are drawn in the first and refer to it by name.
PALETTE = {
    "paper": ("#fefefe", "#15191e"),
    "raised": ("#f4f6f8", "#1e242b"),
    "ink": ("#1b2129", "#e8ecf0"),
    "muted": ("#57616c", "#a3adb8"),
    "line": ("#dde2e7", "#333c46"),
    "link": ("#0b5cad", "#7db9f5"),
    "doubt": ("#8a4b00", "#f2b45f"),
    "doubt-raised": ("#fff5e3", "#2e2516"),
    "processes": ("#7d55a7", "#b998e0"),
    "threads": ("#c2531a", "#f0965f"),
    "events": ("#1d70b4", "#6cb0ec"),
    "article": ("#8b949e", "#7d8792"),
    "wrong-body": ("#6d4c41", "#b08d80"),
    "status-4xx": ("#00818a", "#45c1ca"),
    "status-5xx": ("#b3202c", "#f0717a"),
    "refused": ("#5e3aa0", "#a98be6"),
    "reset": ("#d8701c", "#f2a05c"),
    "timeout": ("#b58900", "#e3bf45"),
    "server": ("#25806d", "#5cc4ae"),
    "database": ("#c39a35", "#dfbf6b"),
    "load": ("#a2abb4", "#6c7681"),
    "closed": ("#3f9164", "#69c091"),
}
NARROW, WIDE = 340, 560
# Tenths of a pixel are enough.
_LONG_FRACTION = re.compile(r"\d+\.\d{2,}")
_MARKS = ("mark", "bar", "rule", "point", "tick", "circle")
_NOT_NEEDED = ("role", "aria-roledescription", "aria-hidden", "pointer-events", "stroke-miterlimit", "font-family")
_SVG = "{http://www.w3.org/2000/svg}"
_NAMED = {light: name for name, (light, _) in PALETTE.items()}
_CONFIG = {
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {
        "domain": False,
        "ticks": False,
        "labelColor": PALETTE["ink"][0],
        "labelFontSize": 12,
        "labelLimit": 0,
        "labelPadding": 6,
        "titleColor": PALETTE["muted"][0],
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "gridColor": PALETTE["line"][0],
    },
    "axisX": {
        "labelColor": PALETTE["muted"][0],
        "labelOverlap": "greedy",
        "labelSeparation": 8,
        "labelBound": 8,
        "tickCount": 5,
    },
    "text": {"color": PALETTE["ink"][0], "fontSize": 12},
    "header": {"labelColor": PALETTE["ink"][0], "labelFontSize": 12, "labelFontWeight": "bold", "labelLimit": 0},
}

Chart = altair.Chart | altair.LayerChart | altair.FacetChart


def colour(name: str) -> str:
    """Return the colour that charts are drawn in; in the page it becomes the name, so that the dark scheme applies."""
    return PALETTE[name][0]


def svg(chart: Chart, ground: str = "transparent") -> str:
    """Return the chart as an SVG document in daylight colours, on a ground of this colour."""
    specification = chart.to_dict()
    specification["config"] = _CONFIG | {"background": ground}
    # In this form the marks carry no reference to a schema on the network.
    specification.pop("$schema", None)
    return str(vl_convert.vegalite_to_svg(specification))


def inline(chart: Chart, says: str) -> str:
    """Return the chart as an ``<svg>`` element for the page. ``says`` is read out in its place."""
    ElementTree.register_namespace("", _SVG[1:-1])
    root = ElementTree.fromstring(svg(chart))
    for element in root.iter():
        spoken = element.attrib.pop("aria-label", None)
        is_mark = element.attrib.get("aria-roledescription", "").endswith(_MARKS)
        for name, value in element.attrib.items():
            if _LONG_FRACTION.search(value):
                element.attrib[name] = _LONG_FRACTION.sub(lambda number: f"{float(number[0]):.1f}", value)
        for name in _NOT_NEEDED:
            element.attrib.pop(name, None)
        if spoken and is_mark:
            ElementTree.SubElement(element, f"{_SVG}title").text = spoken
    root.attrib |= {"role": "img", "aria-label": says}
    root.attrib.pop("class", None)
    text = ElementTree.tostring(root, encoding="unicode")
    return re.sub(r"#[0-9a-f]{6}", lambda found: f"var(--{_NAMED[found[0]]})" if found[0] in _NAMED else found[0], text)
