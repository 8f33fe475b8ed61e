"""What the bench decides, by tables: verdicts, ties, doubts, comparisons, plans. Nothing is measured here."""

import copy
import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rich.console import Console

from loadtests.battle.plan import Column, plan_from_environment
from loadtests.judge import figures
from loadtests.judge.compare import compare, show_comparison
from loadtests.judge.doubts import doubts
from loadtests.judge.estimates import ASSUMED_NOISE, Estimate, estimate, faster_beyond_doubt, noise, ranking, ratio
from loadtests.judge.figures import jain
from loadtests.judge.steady import half_second_rates, is_stable, ramp_allowance_s, was_still_cold
from loadtests.judge.verdict import Evidence, ceiling, judge
from loadtests.machines.placement import Placement, chosen_placement
from loadtests.measure.observer import Connection, Observation, Outcome
from loadtests.measure.wrk import Measured
from loadtests.results import file as results
from loadtests.settings import BadSetting

SAMPLE = Path(__file__).parents[1] / "data" / "results-sample.json"

EVIDENCE = Evidence(
    slots_are="worker processes",
    connections=200,
    ok_per_s=2000,
    mean_latency_ms=100,
    failed_fraction=0,
    db_latency_ms=0,
    slots=None,
    workers=2,
    machine_busy=0.4,
    machine_cpus=8,
    pinned=False,
    server_cores=1.0,
    server_cpus=8,
    server_by_process=(0.5, 0.5, 0.0),
    load_cores=0.3,
    load_threads=1,
    load_cpus=8,
    database_cores=0.5,
    database_cpus=8,
)

MEASURED = Measured(
    replies=1000,
    sent=1210,
    ok=990,
    wrong_body=0,
    statuses={},
    lost=0,
    late=0,
    duration_s=2.0,
    windows_ok=[50] * 20,
    first_replies_s=[0.01] * 10,
    quantiles=[[0.0, 1.0], [0.5, 10.0], [0.99, 20.0], [1.0, 30.0]],
    mean_ms=10,
    samples=990,
    first_replies_removed=10,
    as_printed_ms={},
    output="",
    cpu_user_s=0.1,
    cpu_system_s=0.1,
    voluntary_switches=1,
    involuntary_switches=1,
)


@pytest.fixture
def sample() -> dict[str, Any]:
    return json.loads(SAMPLE.read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("known", "bottleneck", "lower_bound"),
    [
        ({}, "waiting", False),
        ({"failed_fraction": 0.6}, "failing", False),
        ({"load_cores": 0.95}, "load generator CPU", True),
        # Two threads of wrk that may run on one CPU only.
        ({"load_cores": 0.95, "load_threads": 2, "load_cpus": 1}, "load generator CPU", True),
        ({"load_cores": 0.95, "load_threads": 2}, "waiting", False),
        ({"machine_busy": 0.97, "server_cores": 5.0, "database_cores": 2.0}, "server CPU", False),
        ({"machine_busy": 0.97, "server_cores": 2.0, "database_cores": 5.0}, "database CPU", True),
        (
            {"machine_busy": 0.97, "machine_cpus": 2, "load_cores": 0.85, "server_cores": 0.6},
            "load generator CPU",
            True,
        ),
        ({"machine_busy": 0.97, "server_cores": 1.0, "database_cores": 0.5}, "not clear", False),
        ({"pinned": True, "server_cpus": 4, "server_cores": 3.8, "server_by_process": (0.9,) * 4}, "server CPU", False),
        ({"pinned": True, "database_cpus": 2, "database_cores": 1.9}, "database CPU", True),
        ({"pinned": True, "machine_busy": 0.99, "server_cpus": 4, "database_cpus": 2}, "not clear", False),
        ({"server_by_process": (0.97, 0.1, 0.0)}, "one worker of many busy", False),
        ({"server_by_process": (0.97, 0.96, 0.0)}, "server CPU", False),
        ({"server_by_process": (0.97, 0.1), "workers": 1}, "server CPU", False),
        # A process whose threads run side by side is not full at one core.
        ({"server_by_process": (1.3,), "workers": 1}, "waiting", False),
        ({"db_latency_ms": 50, "ok_per_s": 97, "slots": 5}, "pool too small", False),
        ({"db_latency_ms": 50, "ok_per_s": 3900, "slots": 400}, "waiting", False),
        ({"db_latency_ms": 20, "ok_per_s": 960}, "pool too small", False),
        ({"db_latency_ms": 20, "ok_per_s": 9500}, "waiting", False),
        ({"machine_busy": 0.85}, "not clear", False),
        ({"machine_busy": 0.85, "database_cores": None}, "not clear", False),
    ],
)
def test_verdict(known: dict[str, Any], bottleneck: str, lower_bound: bool) -> None:
    verdict = judge(replace(EVIDENCE, **known))
    assert (verdict["bottleneck"], verdict["lower_bound"]) == (bottleneck, lower_bound), verdict
    assert verdict["text"].lower().startswith(bottleneck.lower())
    assert ("lower bound" in verdict["text"]) == lower_bound


@pytest.mark.parametrize(
    ("slots", "connections", "latency_ms", "per_s"),
    [(5, 200, 50, 100.0), (400, 200, 20, 10_000.0), (None, 200, 20, None), (5, 200, 0, None)],
)
def test_ceiling_by_littles_law(slots: int | None, connections: int, latency_ms: int, per_s: float | None) -> None:
    found = ceiling(slots, connections, latency_ms)
    assert (found["per_s"] if found else None) == per_s


def observation(silent_closes: int = 0, replies: int = 1000, **outcomes: int) -> Observation:
    seen = Observation([Connection(replies=replies)], silent_closes=silent_closes)
    seen.outcomes = Counter({Outcome(name): count for name, count in outcomes.items()})
    return seen


@pytest.mark.parametrize(
    ("lost", "seen", "losses", "by"),
    [
        (0, None, (0, 0, 0), "wrk"),
        # Nobody saw what it was: what is worst for the stack.
        (100, observation(), (0, 100, 0), "wrk and observer"),
        (100, observation(silent_closes=50), (0, 0, 100), "wrk and observer"),
        (100, observation(reset=3), (0, 100, 0), "wrk and observer"),
        (100, observation(refused=7), (100, 0, 0), "wrk and observer"),
        (100, observation(silent_closes=30, reset=10), (0, 25, 75), "wrk, shared out as the observer saw it"),
        # wrk had 1000 replies; one in ten closes, the rest of what it lost was knocking at a closed port.
        (5000, observation(silent_closes=100, refused=9), (4900, 0, 100), "wrk, shared out as the observer saw it"),
    ],
)
def test_losses_are_told_apart(lost: int, seen: Observation | None, losses: tuple[int, int, int], by: str) -> None:
    ended, told_by = figures.outcomes(replace(MEASURED, lost=lost), seen, 200)
    assert (ended["refused"], ended["reset"], ended["closed_after_reply"]) == losses
    assert told_by == by


def test_a_close_and_requests_in_flight_are_no_failures() -> None:
    ended, _ = figures.outcomes(replace(MEASURED, lost=50), observation(silent_closes=5), 200)
    assert figures.failures(ended) == {}
    assert ended["in_flight"] == 200
    assert figures.failed_fraction(ended) == 0


def test_each_class_is_a_failure_under_its_own_name() -> None:
    measured = replace(MEASURED, wrong_body=1, statuses={"404": 2, "500": 3, "503": 4}, lost=5, late=6)
    ended, _ = figures.outcomes(measured, observation(reset=1), 200)
    assert figures.failures(ended) == {"wrong_body": 1, "404": 2, "500": 3, "503": 4, "reset": 5, "timeout": 6}
    assert ended["ok"] == 990 - 6
    assert figures.failed_fraction(ended) == pytest.approx(21 / (21 + 984))


def test_the_rate_leaves_out_the_ramp_and_the_window_that_was_cut_off() -> None:
    # 0.5 s of ramp with a tenth of the rate, then 100 a window, then a stump.
    measured = replace(MEASURED, windows_ok=[10] * 5 + [100] * 14 + [3], first_replies_s=[0.1] * 9 + [0.49])
    assert figures.rate(measured, 10, 2)["ok_per_s"] == 1000


def test_the_rate_counts_a_silence_of_the_server_but_not_the_pause_before_a_burst() -> None:
    bursts = [0] * 9 + [200]
    together = replace(MEASURED, windows_ok=[0, *bursts, *bursts, *bursts], quantiles=[[0.5, 1000.0], [1.0, 1000.0]])
    assert figures.rate(replace(together, first_replies_s=[0.05] * 10), 10, 4)["ok_per_s"] == 200
    silent = replace(MEASURED, windows_ok=[100] * 20)
    assert figures.rate(silent, 10, 4)["ok_per_s"] == pytest.approx(1900 / 3.8, rel=0.01)


def test_a_connection_that_never_had_a_reply_does_not_make_the_whole_run_a_ramp() -> None:
    measured = replace(MEASURED, first_replies_s=[0.01] * 9)
    assert figures.ramp(measured, 10)["all_answered_ms"] is None
    assert figures.rate(measured, 10, 2)["steady_s"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("counted", "verdict"), [(None, "not counted"), (989, "less"), (990, "equal"), (1210, "equal"), (1211, "more")]
)
def test_finds(counted: int | None, verdict: str) -> None:
    assert figures.finds(counted, MEASURED, 200)["verdict"] == verdict


@pytest.mark.parametrize(("counts", "index"), [([5, 5, 5], 1.0), ([9, 0, 0], 1 / 3), ([0, 0], 0.0)])
def test_jain(counts: list[int], index: float) -> None:
    assert jain(counts) == pytest.approx(index)


@pytest.mark.parametrize(
    ("rates", "stable"),
    [([1000], False), ([1000, 1050], True), ([1000, 1300], False), ([1000, 800], True),
     ([98, 99, 100, 100], True), ([0, 0], False),
     ([800, 900, 980, 1000], False), ([20, 30], True)],
)  # fmt: skip
def test_a_warm_up_is_over_when_the_rate_stops_rising(rates: list[float], stable: bool) -> None:
    assert is_stable(rates) == stable


def test_half_second_rates_leave_out_the_ramp() -> None:
    assert half_second_rates([1, 1, 10, 10, 10, 10, 10, 10, 10, 10], 1, ramp_s=0.15) == pytest.approx([100, 100])


@pytest.mark.parametrize(
    ("warm_up", "measured", "cold"),
    [
        # Play in its interpreter: flat for two seconds, then three times as fast.
        ([880, 808, 900, 930], [1900, 2300, 2600, 2700, 2900, 2900], True),
        ([2000, 2000], [2100, 2200, 2300, 2400], False),
        ([2000, 2000], [3000, 3000, 2100, 2100], False),
    ],
)
def test_what_is_much_faster_than_its_warm_up_was_cold(warm_up: list[float], measured: list[float], cold: bool) -> None:
    assert was_still_cold(warm_up, measured) == cold


@pytest.mark.parametrize(
    ("first_replies_s", "seconds"),
    [([0.01, 0.05], 0), ([0.01, 0.9], 1), ([0.01, 1.9], 2), ([0.01, 60.0], 4), ([0.01], 4)],
)
def test_a_slow_ramp_gets_time_of_its_own(first_replies_s: list[float], seconds: int) -> None:
    assert ramp_allowance_s(first_replies_s, connections=2, most_s=4) == seconds


def test_estimate_is_the_median_with_every_resample() -> None:
    assert estimate([3.0, 1.0, 2.0]) == Estimate(2.0, 1.0, 3.0, (3.0, 1.0, 2.0))
    assert estimate([7.0]) == Estimate(7.0, None, None, (7.0,))
    wide = estimate([float(value) for value in range(1, 22)])
    assert wide.low is not None
    assert wide.high is not None
    assert 5 <= wide.low <= 8 <= wide.median == 11 <= 14 <= wide.high <= 17


def test_ratio_of_medians() -> None:
    found = ratio([100, 101, 99], [50, 51, 49])
    assert found.median == 0.5
    assert found.low is not None
    assert found.high is not None
    assert 0.48 < found.low < 0.5 < found.high < 0.52
    assert ratio([100], [50, 51]).low is None


def test_noise_is_the_worst_pair() -> None:
    assert noise([(100, 100), (100, 110)]) == pytest.approx(10 / 105)
    assert noise([]) == ASSUMED_NOISE


@pytest.mark.parametrize(
    ("one", "other", "beyond"),
    [
        ([110, 111, 112], [100, 101, 102], True),
        ([102, 103, 104], [100, 101, 101.5], False),  # apart, but by less than the noise
        ([99, 120, 121], [95, 100, 105], False),  # the intervals overlap
        ([120], [100], True),
        ([104], [100], False),
        ([90, 91, 92], [100, 101, 102], False),
    ],
)
def test_faster_beyond_doubt(one: list[float], other: list[float], beyond: bool) -> None:
    assert faster_beyond_doubt(estimate(one), estimate(other), noise=0.05) == beyond


def test_ranking_tells_ties() -> None:
    rows = ranking({"a": estimate([300]), "b": estimate([295]), "c": estimate([100])}, noise=0.05)
    assert [(row["rank"], row["entrant"], row["ties_with"]) for row in rows] == [
        (1, "a", ["b"]),
        (1, "b", ["a"]),
        (3, "c", []),
    ]


def test_the_sample_is_of_the_schema_and_its_summary_comes_from_its_cells(sample: dict[str, Any]) -> None:
    results.validate(sample)
    again = copy.deepcopy(sample)
    results.summarise(again)
    results.validate(again)
    assert [(group["entrant"], group["column"]) for group in again["summary"]["groups"]] == [
        (group["entrant"], group["column"]) for group in sample["summary"]["groups"]
    ]
    again["warnings"] = doubts(again)
    results.validate(again)


def test_what_is_not_of_the_schema_is_refused(sample: dict[str, Any]) -> None:
    sample["cells"][0]["rate"]["ok_per_s"] = "many"
    with pytest.raises(jsonschema.ValidationError):
        results.validate(sample)


def test_results_are_read_back_as_they_were_written(sample: dict[str, Any], tmp_path: Path) -> None:
    results.write(sample, tmp_path)
    assert results.read(tmp_path) == sample
    assert results.find(str(tmp_path)) == tmp_path
    (tmp_path / "results.json").write_text((tmp_path / "results.json").read_text()[:-100])
    with pytest.raises(BadSetting, match="cannot be read"):
        results.read(tmp_path)
    with pytest.raises(BadSetting, match="no results are called 'nowhere'"):
        results.find("nowhere", tmp_path)


def test_a_clock_set_back_does_not_reuse_a_folder(tmp_path: Path) -> None:
    folders = [results.new_folder(tmp_path) for _ in range(3)]
    assert len(set(folders)) == 3
    assert (tmp_path / "latest").resolve() == folders[-1]


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


def slowed(sample: dict[str, Any], by: float, entrant: str, spread: float = 0.01) -> dict[str, Any]:
    """Return ``sample`` with three repeats everywhere; ``entrant`` runs at ``by`` of its speed."""
    changed = copy.deepcopy(sample)
    for group in changed["summary"]["groups"]:
        factor = by if group["entrant"] == entrant else 1.0
        for name, power in (("ok_per_s", 1), ("unloaded_p10_ms", -1), ("cpu_ms_per_request", -1)):
            middle = group[name]["median"] * factor**power
            values = [middle * (1 - spread), middle, middle * (1 + spread)]
            group[name] = {"median": middle, "low": values[0], "high": values[2], "values": values}
    return changed


def test_compare_finds_no_winner_where_nothing_changed(sample: dict[str, Any]) -> None:
    changes = compare(slowed(sample, 1.0, ""), slowed(sample, 1.0, "", spread=0.02))
    assert changes
    assert {change.verdict for change in changes} == {"neither"}


def test_the_comparison_is_told_with_its_counts(sample: dict[str, Any]) -> None:
    changes = compare(slowed(sample, 1.0, ""), slowed(sample, 0.6, "gunicorn-sync"))
    said = io.StringIO()
    show_comparison(Console(file=said, width=200), sample, sample, changes)
    worse = sum(change.verdict == "worse" for change in changes)
    assert worse
    assert f"0 better, {worse} worse, {len(changes) - worse} neither, 0 too noisy" in " ".join(said.getvalue().split())


def test_compare_finds_what_was_slowed_and_only_that(sample: dict[str, Any]) -> None:
    changes = compare(slowed(sample, 1.0, ""), slowed(sample, 0.6, "gunicorn-sync"))
    assert {change.entrant for change in changes if change.verdict == "worse"} == {"gunicorn-sync"}
    assert {change.verdict for change in changes if change.entrant != "gunicorn-sync"} == {"neither"}
    back = compare(slowed(sample, 0.6, "gunicorn-sync"), slowed(sample, 1.0, ""))
    assert {change.entrant for change in back if change.verdict == "better"} == {"gunicorn-sync"}


def test_compare_does_not_judge_what_others_disturbed(sample: dict[str, Any]) -> None:
    disturbed = slowed(sample, 0.5, "node")
    for cell in disturbed["cells"]:
        cell["machine"]["others"] = 0.6
    assert {change.verdict for change in compare(slowed(sample, 1.0, ""), disturbed)} == {"too noisy"}


def test_compare_does_not_call_an_interval_that_touches_the_floor(sample: dict[str, Any]) -> None:
    changes = compare(slowed(sample, 1.0, "", spread=0.1), slowed(sample, 0.85, "node", spread=0.1))
    assert {change.verdict for change in changes} == {"neither"}


def test_compare_does_not_judge_single_repeats(sample: dict[str, Any]) -> None:
    faster = slowed(sample, 2.0, "node")
    for group in faster["summary"]["groups"]:
        group["ok_per_s"]["values"] = group["ok_per_s"]["values"][:1]
    changes = [change for change in compare(sample, faster) if change.metric.name == "ok_per_s"]
    assert {change.verdict for change in changes} == {"neither"}


@pytest.mark.parametrize(
    ("cpus", "placement"),
    [
        (2, Placement()),
        (3, Placement()),
        (4, Placement([0, 1], [2], [3])),
        (6, Placement([0, 1, 2, 3], [4], [5])),
        (8, Placement([0, 1, 2, 3], [4, 5], [6, 7])),
    ],
)
def test_placement_by_default(cpus: int, placement: Placement, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CPUS_SERVER", "CPUS_DB", "CPUS_LOAD"):
        monkeypatch.delenv(name, raising=False)
    assert chosen_placement(range(cpus)) == placement


def test_placement_as_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPUS_SERVER", "0-1,3")
    assert chosen_placement(range(8)) == Placement([0, 1, 3], None, None)
    monkeypatch.setenv("CPUS_SERVER", "9")
    with pytest.raises(BadSetting, match="CPUS_SERVER must name CPUs that can be used here"):
        chosen_placement(range(8))


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("STACKS", "ENDPOINTS", "CONNECTIONS", "DURATION", "ROUNDS", "DB_LATENCY_MS", "THREADS_WRK", "TIMEOUT",
                 "PLAN", "WEB_CONCURRENCY", "THREADS", "CPUS_SERVER", "CPUS_DB", "CPUS_LOAD"):  # fmt: skip
        # Set first: what a plan file puts there is taken away again only where there was something to undo.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def test_the_full_plan_rotates_and_measures_one_stack_twice(no_variables: pytest.MonkeyPatch) -> None:
    no_variables.setenv("STACKS", "gunicorn-sync gunicorn-gevent uwsgi-threads")
    plan = plan_from_environment("battle", [0, 1])
    labels = [entrant.label for entrant in plan.entrants]
    assert sorted(labels) == ["gunicorn-gevent", "gunicorn-gevent [again]", "gunicorn-sync", "uwsgi-threads"]
    for number in (1, 2, 3, 4):
        order = [entrant.label for entrant in plan.order(number)]
        assert order == labels[number - 1 :] + labels[: number - 1]
        gap = abs(order.index("gunicorn-gevent") - order.index("gunicorn-gevent [again]"))
        assert gap == 2


def test_the_plans_fit_their_times_with_ten_stacks(no_variables: pytest.MonkeyPatch) -> None:
    no_variables.setenv("STACKS", " ".join(["gunicorn-gevent"] * 10))
    full = plan_from_environment("battle", [0, 1])
    assert full.estimated_round_s(1) < 4 * 60
    assert full.estimated_s < 12 * 60
    assert plan_from_environment("battle-quick", [0, 1]).estimated_s < 3 * 60


def test_the_plan_of_2014(no_variables: pytest.MonkeyPatch) -> None:
    no_variables.setenv("STACKS", "uwsgi-gevent gunicorn-gevent gunicorn-sync uwsgi-threads")
    plan = plan_from_environment("battle-2014", [0, 1])
    entrants = {entrant.label: entrant for entrant in plan.entrants if entrant.repeats is None}
    assert {label: entrant.settings.get("WEB_CONCURRENCY") for label, entrant in entrants.items()} == {
        "uwsgi-gevent [1 process]": "1",
        "uwsgi-gevent [2 processes]": "2",
        "gunicorn-gevent [2 workers]": "2",
        "gunicorn-gevent [5 workers]": "5",
        "gunicorn-sync [5 workers]": "5",
        "uwsgi-threads": None,
    }
    assert {column.connections for column in plan.columns} == {200, 1000, 5000}
    assert (plan.rounds, plan.measure_s) == (3, 30)
    # Threads sized to the connections, so a start for each number of them.
    threads = [int(settings["THREADS"]) for settings, _ in plan.starts(entrants["uwsgi-threads"], 1)]
    assert all(count * 2 >= connections for count, connections in zip(threads, (200, 1000, 5000), strict=True))
    # 5,000 connections queue for 5,000 / R seconds; the timeout is above that down to R = 150.
    assert plan.timeout_s >= 5000 / 150


@pytest.mark.parametrize(("name", "rounds"), [("battle-quick", 1), ("battle", 3)])
def test_the_plans_have_a_slow_database_column(no_variables: pytest.MonkeyPatch, name: str, rounds: int) -> None:
    plan = plan_from_environment(name, [0, 1])
    assert plan.columns == [Column("mongo", 200), Column("mongo_big", 200), Column("mongo", 200, 20)]
    assert plan.rounds == rounds
    # A first ranking stands before the slow database is measured.
    assert [len(plan.columns_in(number)) for number in range(1, rounds + 1)] == [2, 3, 3][-rounds:]


def test_delays_asked_for_are_in_every_round(no_variables: pytest.MonkeyPatch) -> None:
    no_variables.setenv("DB_LATENCY_MS", "0 50")
    plan = plan_from_environment("battle", [0, 1])
    assert [len(plan.columns_in(number)) for number in (1, 2, 3)] == [4, 4, 4]


def test_slots(no_variables: pytest.MonkeyPatch) -> None:
    no_variables.setenv("STACKS", "gunicorn-sync gunicorn-gevent uwsgi-threads gunicorn-gthread")
    plan = plan_from_environment("battle-quick", [0, 1])
    slots = {entrant.label: entrant.slots(200, 2) for entrant in plan.entrants}
    assert slots == {"gunicorn-sync": 5, "gunicorn-gevent": 200, "uwsgi-threads": 208, "gunicorn-gthread": 64}
    no_variables.setenv("WEB_CONCURRENCY", "3")
    assert plan_from_environment("battle-quick", [0, 1]).entrants[0].slots(200, 2) == 3


def test_a_plan_file_gives_what_the_variables_do_not(no_variables: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text('stacks = ["gunicorn-sync"]\nconnections = [10, 20]\nrounds = 7\nduration = "3s"\n')
    no_variables.setenv("PLAN", str(path))
    no_variables.setenv("ROUNDS", "2")
    plan = plan_from_environment("battle", [0, 1])
    assert (plan.rounds, plan.measure_s) == (2, 3)
    assert {column.connections for column in plan.columns} == {10, 20}
    path.write_text("conections = 10\n")
    with pytest.raises(BadSetting, match="no setting is called conections"):
        plan_from_environment("battle", [0, 1])


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CONNECTIONS", "many", "CONNECTIONS must be integers from 1 to 50000, not 'many'"),
        ("DB_LATENCY_MS", "-1", "DB_LATENCY_MS must be integers from 0 to 10000, not '-1'"),
        ("ROUNDS", "0", "ROUNDS must be an integer from 1 to 1000, not '0'"),
        ("THREADS_WRK", "64", "THREADS_WRK must not exceed CONNECTIONS"),
        ("STACKS", "apache", "no stack is called apache"),
        ("PLAN", "/nowhere.toml", "PLAN must be a TOML file that can be read"),
    ],
)
def test_bad_settings_name_the_variable(no_variables: pytest.MonkeyPatch, name: str, value: str, says: str) -> None:
    no_variables.setenv(name, value)
    if name == "THREADS_WRK":
        no_variables.setenv("CONNECTIONS", "10")
    with pytest.raises(BadSetting, match=says.replace("(", r"\(")):
        plan_from_environment("battle", [0, 1])
