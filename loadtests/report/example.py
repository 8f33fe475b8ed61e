"""docs/example/: one real report, with a picture for the README and a page that says how far to trust it."""

from pathlib import Path

from loadtests.report.answers import headlines, how_sure
from loadtests.report.drawing.svg import WIDE, colour, svg
from loadtests.report.page import NAME, doubts, page
from loadtests.report.reading import measured_endpoints
from loadtests.report.sections.successes import ranking_of
from loadtests.results.battle import Results
from loadtests.settings import ROOT, BadSetting

FOLDER = ROOT / "docs" / "example"
PICTURE = "ranking.svg"


def write_example(results: Results, folder: Path = FOLDER) -> None:
    """Write report.html, ranking.svg and README.md into ``folder``. Raises BadSetting where nothing was measured."""
    figure = ranking_of(results, measured_endpoints(results)[0])
    if figure.chart is None:
        raise BadSetting("these results have no figure yet: an example needs a finished battle")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text(page(results, folder))
    (folder / PICTURE).write_text(svg(figure.chart(WIDE), ground=colour("paper")) + "\n")
    machine = results.environment
    (folder / "README.md").write_text(
        "\n".join(
            [
                f"# One real report: {results.started[:10]}, {machine.cpu_model}, {machine.cpus_usable} CPUs",
                "",
                f"Made by `{results.command}`, then `make example`. [{NAME}]({NAME}) is for a browser.",
                "",
                f"![{figure.title}]({PICTURE})",
                "",
                *headlines(results),
                "",
                how_sure(results),
                "",
                "Before you believe a figure:",
                "",
                *(f"- {text}" for text in doubts(results)),
                "",
            ]
        )
    )
