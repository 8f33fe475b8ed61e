"""summary.json of a locust run: what the recorder saw, in the words of docs/results.md."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

SCHEMA = 1
_OUTCOMES = ("ok", "wrong_body", "status_4xx", "status_5xx", "connect", "reset", "timeout")


def summarise(record: dict[str, Any], finds: int | None, **about: Any) -> dict[str, Any]:
    """Return the summary of a run from its ``record`` (loadtests/scenarios/recorder.py).

    ``finds`` is what mongod counted meanwhile, None where it was not asked. ``about`` says which run it was.
    """
    total = record["total"]
    outcomes = Counter({"ok": total["requests"] - total["failed"]})
    for failure in record["failures"]:
        outcomes[_class_of(failure["what"])] += failure["count"]
    finds_asked = sum(entry["requests"] for entry in record["requests"] if entry["name"].startswith("/mongo"))
    summary = {
        "schema": SCHEMA,
        "kind": "locust",
        **about,
        "warnings": [],
        "took_s": record["took_s"],
        "users": record["users"],
        "ok_per_s": round(outcomes["ok"] / record["took_s"], 2) if record["took_s"] else 0.0,
        "latency_ms": total["latency_ms"],
        "outcomes": {name: outcomes[name] for name in _OUTCOMES},
        "requests": record["requests"],
        "failures": record["failures"],
        "exceptions": record["exceptions"],
        "finds": {"counted": finds, "replies": finds_asked, "verdict": _verdict(finds, finds_asked)},
        "load_generators": record["load_generators"],
        "workers": record["workers"],
    }
    summary["passed"] = (
        outcomes["ok"] > 0 and outcomes["ok"] == total["requests"]
        and not record["exceptions"] and summary["finds"]["verdict"] != "less"
        # With its last worker the run itself has died.
        and (not record["workers"]["lost"] or record["workers"]["lost"] < record["workers"]["joined"])
    )  # fmt: skip
    summary["warnings"] = list(_warnings(summary))
    return summary


def write(summary: dict[str, Any], folder: Path) -> None:
    unfinished = folder / "summary.json.new"
    unfinished.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    unfinished.replace(folder / "summary.json")


def tell(summary: dict[str, Any]) -> None:
    """Print what a person wants to know first."""
    latency = summary["latency_ms"]
    outcomes = summary["outcomes"]
    failed = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in outcomes.items() if count and name != "ok"
    )
    print(
        f"{summary['stack'] or summary['target']}: {outcomes['ok']:,} right replies in {summary['took_s']:.1f} s "
        f"({summary['ok_per_s']:,.1f} a second) to {summary['users']:,} users; "
        f"p50 {latency['p50']:,.0f} ms, p99 {latency['p99']:,.0f} ms; {failed or '0 failed'}; "
        f"finds {summary['finds']['verdict']}"
    )
    for failure in summary["failures"]:
        print(f"  {failure['count']:,} x {failure['name']}: {failure['what']}")
    for exception in summary["exceptions"]:
        print(f"  {exception['count']:,} x in the locust file itself: {exception['what']}")
    for warning in summary["warnings"]:
        print(f"  {warning['about']}: {warning['text']}")


def validate(summary: dict[str, Any]) -> None:
    """Raise jsonschema.ValidationError where ``summary`` is not what docs/many-machines.md says."""
    jsonschema.validate(summary, _schema())


@cache
def _schema() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("summary.schema.json").read_text())  # type: ignore[no-any-return]


def _class_of(failure: str) -> str:
    if match := re.match(r"status ([45])", failure):
        return f"status_{match[1]}xx"
    known = {"wrong body": "wrong_body", "connect": "connect", "timeout": "timeout", "status": "wrong_body"}
    return next((outcome for words, outcome in known.items() if failure.startswith(words)), "reset")


def _verdict(finds: int | None, replies: int) -> str:
    if finds is None:
        return "not counted"
    return "equal" if finds == replies else "less" if finds < replies else "more"


def _warnings(summary: dict[str, Any]) -> Iterator[dict[str, str]]:
    for name, generator in summary["load_generators"].items():
        if generator["limit"]:
            yield {"about": "load generator", "text": f"locust was near its limit ({name}): {generator['limit']}."}
    failed = sum(summary["outcomes"].values()) - summary["outcomes"]["ok"]
    if failed:
        yield {"about": "failures", "text": f"{failed} of {sum(summary['outcomes'].values())} requests failed."}
    lost = summary["workers"]["lost"]
    if lost:
        text = f"{lost} worker{'s' * (lost > 1)} died: what they counted in their last second is lost."
        yield {"about": "load generator", "text": text}
    finds = summary["finds"]
    if finds["verdict"] in ("less", "more"):
        text = f"mongod counted {finds['counted']} finds for {finds['replies']} replies with a document."
        yield {"about": "finds", "text": text}
