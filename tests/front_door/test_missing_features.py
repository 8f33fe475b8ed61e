"""What a machine may lack: features of its kernel and tools, and room for a load. Each is done without or said in one
line, and never taken for a fault of the server."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadtests.machines.description import describe
from loadtests.measure import wrk
from loadtests.scenarios.limit import instant_articles
from loadtests.scenarios.summary import summarise
from loadtests.settings import ROOT
from loadtests.stacks.bodies import EXPECTED
from shared import mongod
from shared.set_up import one_at_a_time
from shared.system_packages import TOOLS, Unavailable


def said_by(code: str, *before: str, **variables: str) -> str:
    command = [*before, sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True).stdout


def test_a_setpriv_without_pdeathsig_is_done_without(tmp_path: Path) -> None:
    setpriv = tmp_path / "setpriv"
    setpriv.write_text('#!/bin/sh\ncase "$*" in *pdeathsig*) exit 1;; esac\n')
    setpriv.chmod(0o755)
    code = "from loadtests.stacks.processes import die_with_parent as words; print(words('TERM'))"
    assert said_by(code, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}") == "[]\n"
    assert said_by(code, PATH=str(tmp_path / "none")) == "[]\n"


@pytest.mark.usefixtures("wrk")
def test_a_kernel_without_pidfd_open_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    looks: list[int] = []
    with instant_articles() as url:
        load = wrk.Load(connections=2, duration_s=1)
        counts = wrk.run(f"{url}/mongo", load, EXPECTED["mongo"], meanwhile=looks.append, interval_s=0.2)
    assert counts.ok and looks and counts.user_s + counts.system_s > 0


def test_a_file_system_that_locks_no_folder_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def as_nfs(file: int, operation: int) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(fcntl, "flock", as_nfs)
    with one_at_a_time(tmp_path):
        pass


def test_a_mongod_that_is_none_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mongod").write_text("of another machine")
    (tmp_path / "mongod").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(Unavailable, match=r"^[^\n]*/mongod cannot be run: Exec format error; [^\n]*MONGODB_URI[^\n]*$"):
        mongod.ensure_running(tmp_path / "home")


@pytest.mark.parametrize(("ends", "says"), [("kill -KILL $$", "mongod died of SIGKILL"), ("exit 3", "because")])
def test_a_mongod_that_dies_says_of_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str, says: str) -> None:
    log = [json.dumps({"s": "F", "msg": "because"}), json.dumps({"s": "E", "msg": "stack trace"}), "[" + 9999 * "0,"]
    (tmp_path / "mongod").write_text("#!/bin/sh\n" + "\n".join(f"echo '{line}'" for line in log) + f"\n{ends}\n")
    (tmp_path / "mongod").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(Unavailable, match=rf"^[^\n]*{says}[^\n]*$") as told:
        mongod.ensure_running(tmp_path / "home")
    assert "because" in str(told.value) and len(str(told.value)) < 600


def test_the_packages_are_those_of_this_python() -> None:
    assert TOOLS["python-venv"].packages == (f"python3.{sys.version_info.minor}-venv",)
    assert TOOLS["python-headers"].packages == (f"python3.{sys.version_info.minor}-dev",)


@contextmanager
def cgroup(controller: str, **limits: int) -> Iterator[list[str]]:
    """Make a cgroup of version 1 two levels deep, the limits on the upper one; yield the words to run in it."""
    upper = Path("/sys/fs/cgroup", controller, f"stack-battle-{uuid.uuid4().hex}")
    try:
        (upper / "lower").mkdir(parents=True)
    except OSError as error:
        pytest.skip(f"no cgroup of version 1 to be had here: {error}")
    try:
        for name, value in limits.items():
            (upper / f"{controller}.{name}").write_text(str(value))
        yield ["sh", "-c", f'echo $$ > "{upper}/lower/cgroup.procs" && exec "$@"', "sh"]
    finally:
        (upper / "lower").rmdir()
        upper.rmdir()


def test_the_quota_of_cgroups_of_version_1_is_read() -> None:
    code = "from loadtests.machines.placement import usable_cpus; print(len(usable_cpus()))"
    with cgroup("cpu", cfs_quota_us=50_000, cfs_period_us=100_000) as within:
        assert said_by(code, *within) == "1\n"


def test_too_few_processes_and_too_little_memory_are_said_before_the_start() -> None:
    code = """
from loadtests.stacks.catalogue import stacks
from loadtests.stacks.room import require_room
for connections, stack in ((40, "gunicorn-gevent"), (40, "uwsgi-threads"), (10_000, "gunicorn-gevent")):
    try: require_room(connections, [stacks()[stack]])
    except Exception as refusal: print(type(refusal).__name__, refusal)
"""
    with cgroup("pids", max=100) as within:
        said = said_by(code, *within).splitlines()
    needed = (190, 230, 150 + min(10_000, 100 * (os.cpu_count() or 1)))
    for line, connections, threads in zip(said, (40, 40, 10_000), needed, strict=True):
        assert f"BadSetting CONNECTIONS={connections} needs {threads} processes and threads" in line
    with cgroup("memory", limit_in_bytes=200 << 20) as within:
        assert "BadSetting CONNECTIONS=40 needs 256 MiB of memory" in said_by(code, *within)


def test_the_limit_of_processes_of_a_user_is_read_while_others_come_and_go() -> None:
    code = """
import os, resource
from loadtests.stacks.room import _free_threads
resource.setrlimit(resource.RLIMIT_NPROC, (5000, 5000))
os.geteuid = lambda: 1  # root has no such limit
print(all(_free_threads() < 5000 for _ in range(20)))
"""
    assert said_by(code) == "True\n"


def few_ports(number: int) -> list[str]:
    """Return the words that run a command where the kernel has so many client ports."""
    within = ["unshare", "--net", "sh", "-c"]
    setting = f'ip link set lo up && echo "20000 {19999 + number}" > /proc/sys/net/ipv4/ip_local_port_range'
    if subprocess.run([*within, setting], capture_output=True).returncode:
        pytest.skip("a network of its own needs root, unshare and ip")
    return [*within, f'{setting} && exec "$@"', "sh"]


@pytest.mark.parametrize("command", ["battle", "wrk gunicorn-gevent", "locust gunicorn-gevent"])
def test_too_few_client_ports_are_said_before_the_start(command: str) -> None:
    words = [*few_ports(150), sys.executable, "-m", "loadtests", *command.split()]
    users = {"LOCUST_USERS": "200", "CONNECTIONS": "200"}
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, **users}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "=200 needs 400 client ports, and the limit is 150" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_case_without_room_for_its_clients_accuses_no_stack() -> None:
    code = """
from loadtests.faults.cases import CASES
from loadtests.faults.matrix import run_case
from loadtests.stacks.catalogue import stacks
row = run_case(CASES["idle-connections"], stacks()["gunicorn-gevent"], None)
print(row["verdict"], row["why"])
"""
    assert "does not apply CONNECTIONS=10000 needs 20000 client ports" in said_by(code, *few_ports(150))


def test_what_runs_out_while_it_is_loaded_is_no_figure_about_the_server() -> None:
    code = """
import time
from loadtests.measure.observer import Clients, KnownLoad, observe
from loadtests.measure.wrk import WrkFailed
from loadtests.scenarios.limit import instant_articles
def known(port):
    with KnownLoad(Clients("127.0.0.1", port, "/mongo", 200, 5)) as load: load.wait_until(0.5)
with instant_articles() as url:
    port = int(url.rpartition(":")[2])
    for load in (lambda: observe("127.0.0.1", port, "/mongo", 200, 1), lambda: known(port)):
        try: print(load())
        except WrkFailed as trouble: print(trouble)
"""
    said = said_by(code, *few_ports(150)).splitlines()
    assert [line.partition(":")[0] for line in said] == 2 * ["this machine ran out of client ports for 200 clients"]


def test_a_wrk_without_a_port_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wrk").write_text(
        "#!/bin/sh\necho 'unable to connect to h:1 Cannot assign requested address'; exit 1\n"
    )
    (tmp_path / "wrk").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(wrk.WrkFailed, match="this machine ran out of client ports"):
        wrk.run("http://h:1/", wrk.Load(connections=1, duration_s=1), b"")


def test_locust_counts_what_was_never_sent_as_its_own_trouble() -> None:
    latency = dict.fromkeys(("mean", "p50", "p90", "p99", "p999", "max"), 1.0)
    small = {"name": "/mongo", "requests": 200, "failed": 60, "bytes": 1, "latency_ms": latency, "ok_each_s": [140]}
    record = {
        "took_s": 1.0, "users": 200, "total": small, "requests": [small],
        "failures": [{"name": "/mongo", "what": "connect: Cannot assign requested address", "count": 60}],
        "exceptions": [], "load_generators": {}, "workers": {"joined": 0, "lost": 0},
    }  # fmt: skip
    about = {"id": "x", "state": "complete", "started": "", "command": "", "stack": None, "target": ""}
    summary = summarise(record, 140, environment=describe([], ""), **about)
    assert (summary.finds.replies, summary.finds.verdict) == (140, "equal")
    assert "ran out of client ports" in summary.doubts[0].text
    assert not summary.passed
