"""The article's own charts, with the requests in the classes that they belong to."""

from loadtests.report import article
from loadtests.report.drawing import charts
from loadtests.report.sections.exhibit import Figure, drawn, number
from loadtests.results.words import Table


def in_2014(document: str) -> Figure:
    """Draw how the article's requests truly ended; ``document`` is ``small`` or ``big``."""
    rows = []
    figures = ("requests/s", "mean ms", "max ms", "drawn as failed")
    table = Table(["stack", "connections", "called in 2014", *figures, "what was wrong"])
    for run in article.runs(document):
        for kind, count in article.ends(run).items():
            says = f"{article.name(run)}, {run['connections']:,} connections: {count:,} {charts.IN_2014[kind][1]}"
            place = {"entrant": article.name(run), "connections": run["connections"]}
            rows.append({**place, "kind": kind, "amount": count, "says": says})
        failed = run["errors"]["read"] + run["errors"]["timeout"] + run["non_2xx_3xx"]
        amounts = map(number, (run["requests_per_s"], run["latency_mean_ms"], run["latency_max_ms"], failed))
        wrong = " ".join(article.what_was_wrong(run))
        table.add(article.name(run), number(run["connections"]), run["article_name"], *amounts, wrong)
    several = sorted({run["connections"] for run in article.runs(document)})
    return Figure(
        f"in-2014-{document}",
        f"2014, {document} document: what was drawn as failed",
        "The article's own runs, on other machines: compare the colours, not the lengths. From top to bottom: "
        f"{', '.join(map(number, several))} connections.",
        table,
        drawn(charts.in_2014, rows),
        list(charts.IN_2014.values()),
    )
