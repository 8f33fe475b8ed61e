"""Figures as a person says them, and tables of them."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """A heading for each column, and rows of as many texts."""

    head: list[str]
    rows: list[list[str]] = field(default_factory=list)

    def add(self, *texts: str) -> None:
        self.rows.append(list(texts))

    def markdown(self) -> str:
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def minutes(seconds: float) -> str:
    """Return a duration as a person says it: ``45 s``, ``4 min 10 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
