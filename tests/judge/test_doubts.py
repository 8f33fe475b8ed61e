"""What there is to doubt about results is said."""

from typing import Any

from loadtests.judge.doubts import doubts


def test_doubts_are_said(sample: dict[str, Any]) -> None:
    quiet = {warning["about"] for warning in doubts(sample)}
    assert quiet == {"placement", "repeats", "failures", "fairness", "environment"}
    for cell in sample["cells"]:
        cell["machine"] |= {"steal": 0.05, "others": 0.3}
        cell["cost"]["bench_cores"] = 0.2
        cell["warm_up"]["stable"] = False
        cell["finds"] |= {"counted": 1, "verdict": "less"}
    sample["cells"][0]["machine"]["mhz"], sample["cells"][1]["machine"]["mhz"] = 2000.0, 3000.0
    sample["cells"][0]["cost"]["load"]["cores"] = 0.88
    sample["summary"]["noise"][0]["difference"] = 0.12
    sample["cells"][0]["ceiling"] = {"per_s": 1.0, "text": "1 at once / 1000 ms = 1 a second at most"}
    loud = {warning["about"] for warning in doubts(sample)}
    assert loud - quiet == {
        *("a/a", "steal", "load by others", "frequency", "bench", "load generator", "warm-up", "finds", "ceiling")
    }
