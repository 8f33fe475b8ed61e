"""When is the load generator the limit, and not the server? Imports no locust, which would patch whoever imports it."""

from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any

NEAR_LIMIT_CORES = 0.85
"""From so much of a core on, a process of locust is near what it can send (docs/many-machines.md has the figures)."""

NEAR_LIMIT_LATE_MS = 20.0
"""A user that runs so late has that wait counted as the server's."""


@dataclass
class LoadGenerator:
    """How busy one process of locust was, second by second: cores used, and by how much it ran its users late."""

    cores: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)

    @property
    def limit(self) -> str | None:
        """Return why this process, or the machine it is on, limits the run; None where it does not."""
        # One busy second, such as that in which all users are made, says nothing.
        many = max(2, len(self.cores) / 4)
        if sum(each >= NEAR_LIMIT_CORES for each in self.cores) >= many:
            return f"one of its processes used {max(self.cores):.2f} of the one core that it can use"
        if sum(each >= NEAR_LIMIT_LATE_MS for each in self.late_ms) >= many:
            return f"its users ran up to {max(self.late_ms):.0f} ms late: others use the CPUs of its machine"
        return None

    def as_result(self) -> dict[str, Any]:
        cores, late_ms = self.cores or [0.0], self.late_ms or [0.0]
        return {
            "cores_mean": round(mean(cores), 3),
            "cores_most": round(max(cores), 3),
            "late_ms_median": round(median(late_ms), 1),
            "late_ms_most": round(max(late_ms), 1),
            "limit": self.limit,
        }
