"""report.html in a real browser, from disk and without a network. What it looked like is kept in .screenshots/."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from loadtests.report.page import figures
from loadtests.settings import ROOT
from tests.harness.browser import chromium
from tests.report import samples

_SCREENSHOTS = ROOT / ".screenshots"
# WCAG AA for text of this size, and what a phone still shows.
_LEAST_CONTRAST = 4.5
_LEAST_LETTERS_PX = 9.5
_PHONE, _DESK = 400, 1600
# What a battle of both documents, with latency added and some failures, must show: a chart that goes missing is missed.
_CHARTS = {
    *("ranking-mongo", "ranking-mongo_big", "successes-mongo", "successes-mongo_big", "failures-mongo"),
    *("latency-mongo", "latency-mongo_big", "latency-curves", "ramp", "fairness"),
    *("processor-mongo", "processor-mongo_big", "memory", "threads", "switches"),
    *("slow-database", "in-2014-small", "in-2014-big"),
}

_WENT_WELL = ("usual", "as_in_2014")

# Everything that is wrong with what the page shows, a sentence each. It looks at what is drawn, not at the source.
_LOOK = """
([expected, leastContrast, leastLettersPx]) => {
  const faults = [];
  const isShown = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((value) => {
      const share = value / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const contrast = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const across = (one, other) => one.left < other.right - 1 && other.left < one.right - 1;
  const along = (one, other) => one.top < other.bottom - 1 && other.top < one.bottom - 1;
  const meets = (one, other) => across(one, other) && along(one, other);
  const isSeen = (text) => text.textContent.trim() && text.getAttribute("opacity") !== "0";
  const fault = (id, text, what) => faults.push(`${id}: "${text.textContent.trim().slice(0, 40)}" ${what}`);

  for (const id of expected) {
    const figure = document.getElementById(id);
    if (!figure) { faults.push(`${id}: the figure is not there`); continue; }
    const drawings = [...figure.querySelectorAll("svg")].filter(isShown);
    if (drawings.length !== 1) { faults.push(`${id}: ${drawings.length} drawings are shown`); continue; }
    const [drawing] = drawings;
    const marks = [...drawing.querySelectorAll('[class*="role-mark"] :is(path, line, text)')];
    const sizes = marks.map((mark) => mark.getBoundingClientRect());
    if (!sizes.some((box) => box.width + box.height > 1)) faults.push(`${id}: nothing is drawn`);
    if (!drawing.getAttribute("aria-label")) faults.push(`${id}: says nothing to a screen reader`);
    if (!figure.querySelector("table tbody tr")) faults.push(`${id}: has no table`);
    const letters = [...drawing.querySelectorAll("text")].filter(isSeen);
    const boxes = letters.map((text) => text.getBoundingClientRect());
    const frame = drawing.getBoundingClientRect();
    letters.forEach((text, n) => {
      const size = parseFloat(getComputedStyle(text).fontSize) * (frame.width / drawing.viewBox.baseVal.width);
      if (size < leastLettersPx) fault(id, text, `is ${size.toFixed(1)} px small`);
      if (boxes[n].left < frame.left - 2 || boxes[n].right > frame.right + 2) fault(id, text, "is cut off");
      const ratio = contrast(rgb(getComputedStyle(text).fill), ground(figure));
      if (ratio < leastContrast) fault(id, text, `has a contrast of ${ratio.toFixed(1)}`);
      for (let m = n + 1; m < letters.length; m++) {
        if (meets(boxes[n], boxes[m])) fault(id, text, `lies on "${letters[m].textContent}"`);
      }
    });
  }
  for (const element of document.querySelectorAll("body *:not(svg):not(svg *)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
    if (!own || !isShown(element)) continue;
    const ratio = contrast(rgb(getComputedStyle(element).color), ground(element));
    if (ratio < leastContrast) fault("page", element, `has a contrast of ${ratio.toFixed(1)}`);
  }
  if (document.documentElement.scrollWidth > innerWidth) faults.push("the page is wider than the window");
  return faults;
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """Write the report of a sample into a folder of this test's own."""

    def write(name: str) -> Path:
        path = tmp_path / "report.html"
        path.write_text(samples.rendered(name))
        return path

    return write


def faults(browser: Browser, path: Path, expected: list[str], width: int, scheme: Any, picture: str = "") -> list[str]:
    """Return what is wrong with the page in a window of this width, in words; keep a picture when it has a name."""
    context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme, offline=True)
    page = context.new_page()
    found: list[str] = []
    page.on("console", lambda message: found.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: found.append(f"script: {error}"))
    page.on("request", lambda request: found.append(f"request: {request.url}"))
    address = path.as_uri()
    page.goto(address)
    found.remove(f"request: {address}")
    found += page.evaluate(_LOOK, [expected, _LEAST_CONTRAST, _LEAST_LETTERS_PX])
    if picture:
        page.screenshot(path=_SCREENSHOTS / f"{picture}-{width}-{scheme}.png", full_page=True)
    context.close()
    return found


def drawn_in(name: str) -> list[str]:
    """Return the ids of the charts that the report of a sample must show."""
    return [figure.id for section in figures(getattr(samples, name)()).values() for figure in section if figure.chart]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [_PHONE, _DESK])
@pytest.mark.parametrize("name", _WENT_WELL)
def test_every_chart_is_drawn_and_readable(
    browser: Browser, written: Callable[[str], Path], name: str, width: int, scheme: str
) -> None:
    assert _CHARTS - set(drawn_in(name)) <= ({"slow-database"} if name == "as_in_2014" else set())
    assert faults(browser, written(name), drawn_in(name), width, scheme, picture=name) == []


@pytest.mark.parametrize(("width", "scheme"), [(_PHONE, "dark"), (_DESK, "light")])
@pytest.mark.parametrize("name", [sample.__name__ for sample in samples.ALL if sample.__name__ not in _WENT_WELL])
def test_a_battle_that_went_badly_has_an_honest_page_too(
    browser: Browser, written: Callable[[str], Path], name: str, width: int, scheme: str
) -> None:
    assert faults(browser, written(name), drawn_in(name), width, scheme) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('<div class="wide"><svg', '<div class="wide"><svg style="display:none"', "0 drawings are shown"),
        ('<figure id="fairness"', '<figure id="removed"', "fairness: the figure is not there"),
        ("</body>", "<script>throw new Error('broken')</script></body>", "console:"),
        ("</body>", '<img src="http://127.0.0.1:9/picture.png" alt=""></body>', "127.0.0.1:9"),
        ("</style>", ".note { color: #aaa; }</style>", "has a contrast of"),
        ("</style>", "figure svg text { font-size: 6px; }</style>", "px small"),
        ("</style>", "main { width: 2000px; }</style>", "wider than the window"),
    ],
)
def test_the_look_at_the_page_sees_what_is_broken(
    browser: Browser, written: Callable[[str], Path], old: str, new: str, expected: str
) -> None:
    broken = written("usual")
    text = broken.read_text()
    assert old in text
    broken.write_text(text.replace(old, new))
    assert expected in " ".join(faults(browser, broken, drawn_in("usual"), _DESK, "light"))


def test_a_script_that_fails_is_seen_even_where_the_page_allows_scripts(
    browser: Browser, written: Callable[[str], Path]
) -> None:
    broken = written("usual")
    text = broken.read_text().replace("Content-Security-Policy", "X-No-Policy")
    broken.write_text(text.replace("</body>", "<script>undefined.charts</script></body>"))
    assert any(fault.startswith("script:") for fault in faults(browser, broken, [], _DESK, "light"))


def test_tables_and_links_are_reached_by_keyboard(browser: Browser, written: Callable[[str], Path]) -> None:
    page = _opened(browser, written("usual"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    details = page.locator("#ranking-mongo details")
    assert details.get_attribute("open") is None
    details.locator("summary").focus()
    page.keyboard.press("Enter")
    assert details.locator("table").is_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "region"
    page.context.close()


def test_it_prints_with_its_charts_in_daylight_colours(browser: Browser, written: Callable[[str], Path]) -> None:
    page = _opened(browser, written("usual"), scheme="dark")
    _SCREENSHOTS.mkdir(exist_ok=True)
    page.pdf(path=_SCREENSHOTS / "usual.pdf", format="A4")
    page.emulate_media(media="print")
    assert page.locator("#ranking-mongo svg").first.is_visible()
    assert not page.locator("nav").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(254, 254, 254)"
    page.context.close()


def _opened(browser: Browser, path: Path, scheme: Any = "light") -> Page:
    page = browser.new_context(viewport={"width": _DESK, "height": 1000}, color_scheme=scheme, offline=True).new_page()
    page.goto(path.as_uri())
    return page
