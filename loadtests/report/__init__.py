"""report.html: one page from a results.json that a team can decide by. It needs no network and no script."""

from loadtests.report.page import write_report

__all__ = ["write_report"]
