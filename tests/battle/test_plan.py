"""Plans: from the variables to entrants, columns, rounds and times."""

from pathlib import Path

import pytest

from loadtests.battle.plan import plan_from_environment
from loadtests.results.battle import PlanName
from loadtests.results.cell import Column
from loadtests.settings import BadSetting


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("STACKS", "ENDPOINTS", "CONNECTIONS", "DURATION", "ROUNDS", "DB_LATENCY_MS", "THREADS_WRK", "TIMEOUT",
                 "PLAN", "WEB_CONCURRENCY", "THREADS", "CPUS_SERVER", "CPUS_DB", "CPUS_LOAD",
                 "MONGODB_URI", "MONGODB_MAX_POOL_SIZE"):  # fmt: skip
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
def test_the_plans_have_a_slow_database_column(no_variables: pytest.MonkeyPatch, name: PlanName, rounds: int) -> None:
    plan = plan_from_environment(name, [0, 1])
    small, big = Column(endpoint="mongo", connections=200), Column(endpoint="mongo_big", connections=200)
    assert plan.columns == [small, big, small.model_copy(update={"db_latency_ms": 20})]
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
    slots = {entrant.label: plan.slots(entrant, 200) for entrant in plan.entrants}
    assert slots == {"gunicorn-sync": 5, "gunicorn-gevent": 200, "uwsgi-threads": 208, "gunicorn-gthread": 64}
    no_variables.setenv("WEB_CONCURRENCY", "3")
    plan = plan_from_environment("battle-quick", [0, 1])
    assert plan.slots(plan.entrants[0], 200) == 3


@pytest.mark.parametrize(
    ("variables", "slots", "are"),
    [
        ({"MONGODB_MAX_POOL_SIZE": "8"}, [5, 16, 16, 16], "pooled connections"),
        ({"MONGODB_URI": "mongodb://h?maxpoolsize=2", "MONGODB_MAX_POOL_SIZE": "8"}, [5, 4, 4, 4],
         "pooled connections"),
        ({"MONGODB_URI": "mongodb+srv://h.invalid/?maxPoolSize=50"}, [5, 100, 64, 100], "threads"),
        # No limit, so that the threads are one, and of an event loop the connections of the load.
        ({"MONGODB_URI": "mongodb://h/?maxPoolSize=0"}, [5, 200_000, 64, 200_000], "threads"),
    ],
)  # fmt: skip
def test_slots_are_bounded_by_the_pool_of_the_uri(
    no_variables: pytest.MonkeyPatch, variables: dict[str, str], slots: list[int], are: str
) -> None:
    for name, value in {"STACKS": "gunicorn-sync gunicorn-gevent gunicorn-gthread node", **variables}.items():
        no_variables.setenv(name, value)
    plan = plan_from_environment("battle-quick", [0, 1])
    assert [plan.slots(entrant, 200) for entrant in plan.entrants] == slots
    assert plan.slots_are(plan.entrants[2], 200) == are


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
        ("WEB_CONCURRENCY", "many", "WEB_CONCURRENCY must be an integer from 1 to 1000000, not 'many'"),
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
