"""report.html: one page from a results.json that a team can decide by. It needs no network and no script."""
