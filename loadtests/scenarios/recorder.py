"""A second locust file beside the first: watches the run, and locust itself, and writes down what happened.

``locust -f locustfile.py,recorder.py --record FILE``. Given to a master and to its workers alike, it also

- waits at the end until every worker has let its users finish and has sent what they counted: a master waits half a
  second for that, and the replies still under way then are counted by the server but not by locust;
- says when locust, not the server, is what limits the run: one process of it uses one core at most, and its users wait
  for each other before it is used up.
"""

import atexit
import csv
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import locust.runners
from locust import events
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner, WorkerRunner
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV, StatsEntry, calculate_response_time_percentile

from loadtests.scenarios.generator import LoadGenerator, OwnCpu

_LOOK_LASTS_S = 1.0
_DRAIN = "articles_drain"
_DRAINED = "articles_drained"
_DRAIN_GRACE_S = 5.0
_PLAIN_LINE_EVERY_S = 5

# What a worker that dies has counted since its last report is lost with it.
locust.runners.WORKER_REPORT_INTERVAL = _LOOK_LASTS_S


class Recorder:
    """Where the run is told: in the process that runs it alone, or in the master."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.generators: dict[str, LoadGenerator] = {}
        self.workers_seen: set[str] = set()
        self.lost: set[str] = set()
        self.drained: set[str] = set()
        self._started: float | None = None
        self._took_s = 0.0
        self._most_users = 0

    def start(self) -> None:
        # With the web page there may be several runs; the last one is written down.
        self.generators, self._started, self._took_s, self._most_users = {}, time.monotonic(), 0.0, 0

    def stop(self) -> None:
        if self._started is not None and not self._took_s:
            self._took_s = time.monotonic() - self._started

    def saw(self, name: str, seconds: list[dict[str, float]]) -> None:
        """Take what process ``name`` noticed about itself."""
        generator = self.generators.setdefault(name, LoadGenerator())
        was_limited = generator.limit
        for second in seconds:
            generator.cores.append(second["cores"])
            generator.waiting.append(second["waiting"])
        if generator.limit and not was_limited:
            logging.warning("%s: %s", name, generator.limit)
            _say(
                f"locust, not the server, is near its limit: {generator.limit}; give it more processes or machines "
                "(LOCUST_PROCESSES=, make locust-worker)\n"
            )

    def show_progress(self) -> None:
        """Write a line each second where that can be overwritten, else now and then."""
        runner = self.environment.runner
        assert runner is not None
        replies, seconds = 0, 0
        while True:
            gevent.sleep(1)
            self._notice_lost_workers()
            total = runner.stats.total
            self._most_users = max(self._most_users, runner.user_count)
            rate, replies = max(0, total.num_requests - replies), total.num_requests
            if self._started is None or self._took_s:
                continue
            seconds += 1
            p95_ms = total.get_current_response_time_percentile(0.95)
            line = (
                f"{time.monotonic() - self._started:4.0f} s  {runner.user_count} users  {rate:,} replies/s  "
                f"p95 {f'{p95_ms:,.0f} ms' if p95_ms is not None else '-'}  {total.num_failures:,} failed"
            )
            if isinstance(runner, MasterRunner):
                line += f"  {runner.worker_count} workers"
            if sys.stderr.isatty():
                _say(f"\r\033[K{line}")
            elif seconds % _PLAIN_LINE_EVERY_S == 0:
                _say(f"{line}\n")

    def drain(self) -> None:
        """Let the workers end what they began and report it."""
        runner = self.environment.runner
        if not isinstance(runner, MasterRunner):
            return
        runner.send_message(_DRAIN)
        deadline = time.monotonic() + self.environment.stop_timeout + _DRAIN_GRACE_S
        while {
            worker.id for worker in runner.clients.all if worker.state != locust.runners.STATE_MISSING
        } - self.drained:
            if time.monotonic() > deadline:
                logging.warning("Not every worker said that its users have ended: their last replies are not counted")
                return
            gevent.sleep(0.05)

    def write(self, path: Path) -> None:
        if sys.stderr.isatty():
            _say("\n")
        self.stop()
        self._notice_lost_workers()
        runner = self.environment.runner
        assert runner is not None
        stats = self.environment.stats
        record = {
            "took_s": round(self._took_s, 3),
            "users": self._most_users,
            "total": _entry(stats.total),
            "requests": [_entry(entry) for entry in stats.entries.values()],
            "failures": [
                {"name": each.name, "what": _text(each.error), "count": each.occurrences}
                for each in stats.errors.values()
            ],
            "exceptions": [{"what": each["msg"], "count": each["count"]} for each in runner.exceptions.values()],
            "load_generators": {name: each.as_result() for name, each in self.generators.items()},
            "workers": {"joined": len(self.workers_seen), "lost": len(self.lost)},
        }
        unfinished = path.with_name(path.name + ".new")
        unfinished.write_text(json.dumps(record, indent=1) + "\n")
        unfinished.replace(path)

    def write_csv(self, prefix: str) -> None:
        """Bring locust's CSV files up to date: it writes them every second, and not once more at the end."""
        tables = StatsCSV(self.environment, PERCENTILES_TO_REPORT)
        for name, rows in (("stats", tables.requests_csv), ("failures", tables.failures_csv)):
            with Path(f"{prefix}_{name}.csv").open("w", newline="") as file:
                rows(csv.writer(file))

    def _notice_lost_workers(self) -> None:
        runner = self.environment.runner
        if not isinstance(runner, MasterRunner):
            return
        lost = {worker.id for worker in runner.clients.missing} - self.lost
        self.lost |= lost
        for name in lost:
            _say(f"\nworker {name} does not answer any more; the others take its users\n")


def _look_at_oneself() -> Iterator[dict[str, float]]:
    """Yield every second what this process uses."""
    cpu = OwnCpu()
    while True:
        gevent.sleep(_LOOK_LASTS_S)
        cores, waiting = cpu.look()
        yield {"cores": cores, "waiting": waiting}


def _watch_here(environment: Environment, recorder: Recorder) -> None:
    for second in _look_at_oneself():
        if environment.runner is not None and environment.runner.user_count:
            recorder.saw("locust", [second])


def _watch_for_master(runner: WorkerRunner) -> None:
    unreported: list[dict[str, float]] = []

    def report(data: dict[str, Any], **_: Any) -> None:
        data["load_generator"] = list(unreported)
        unreported.clear()

    runner.environment.events.report_to_master.add_listener(report)
    for second in _look_at_oneself():
        if runner.user_count:
            unreported.append(second)


def _drain_worker(environment: Environment, **_: Any) -> None:
    runner = environment.runner
    assert isinstance(runner, WorkerRunner)
    runner.stop()
    runner._send_stats()
    runner.send_message(_DRAINED)


@events.init_command_line_parser.add_listener
def add_option(parser: Any) -> None:
    parser.add_argument("--record", default="", env_var="LOCUST_RECORD", include_in_web_ui=False, metavar="<filename>",
                        help="Write what happened to this JSON file")  # fmt: skip


@events.init.add_listener
def watch(environment: Environment, **_: Any) -> None:
    # gevent counts from when its loop last looked at the clock: before locust was imported, a second ago, by which the
    # run would be too short.
    gevent.get_hub().loop.update_now()
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        runner.register_message(_DRAIN, _drain_worker, concurrent=True)
        gevent.spawn(_watch_for_master, runner)
        return
    recorder = Recorder(environment)
    environment.events.test_start.add_listener(lambda **_: recorder.start())
    environment.events.test_stopping.add_listener(lambda **_: recorder.drain())
    environment.events.test_stop.add_listener(lambda **_: recorder.stop())
    gevent.spawn(recorder.show_progress)
    if isinstance(runner, LocalRunner):
        gevent.spawn(_watch_here, environment, recorder)
    if isinstance(runner, MasterRunner):
        _listen_to_workers(environment, runner, recorder)
    options: Any = environment.parsed_options
    if options.csv_prefix:
        # locust closes its own files after its last event.
        atexit.register(recorder.write_csv, options.csv_prefix)
    if options.record:
        # `quit` comes after everything, and after the last reports of workers.
        environment.events.quit.add_listener(lambda **_: recorder.write(Path(options.record)))


def _listen_to_workers(environment: Environment, runner: MasterRunner, recorder: Recorder) -> None:
    def reported(client_id: str, data: dict[str, Any]) -> None:
        if data.get("load_generator"):
            recorder.saw(client_id, data["load_generator"])

    def drained(msg: Any, **_: Any) -> None:
        recorder.drained.add(msg.node_id)

    environment.events.worker_connect.add_listener(lambda client_id: recorder.workers_seen.add(client_id))
    environment.events.worker_report.add_listener(reported)
    runner.register_message(_DRAINED, drained)


def _entry(entry: StatsEntry) -> dict[str, Any]:
    def quantile_ms(share: float) -> float:
        bucket = calculate_response_time_percentile(entry.response_times, entry.num_requests, share)
        return min(float(bucket), entry.max_response_time)

    by_second = Counter(entry.num_reqs_per_sec)
    by_second.subtract(entry.num_fail_per_sec)
    return {
        "name": entry.name,
        "requests": entry.num_requests,
        "failed": entry.num_failures,
        "bytes": entry.total_content_length,
        "latency_ms": {
            "mean": round(entry.avg_response_time, 3),
            "p50": quantile_ms(0.5),
            "p90": quantile_ms(0.9),
            "p99": quantile_ms(0.99),
            "p999": quantile_ms(0.999),
            "max": round(entry.max_response_time, 3),
        },
        "ok_each_s": [by_second[second] for second in range(min(by_second), max(by_second) + 1)] if by_second else [],
    }


def _text(error: Any) -> str:
    # A failure of ours is text; what locust could not put a name to is an exception, in other words on each machine.
    return str(error).removeprefix("CatchResponseError('").removesuffix("')")


def _say(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        # The terminal is gone; the run is recorded all the same.
        return
