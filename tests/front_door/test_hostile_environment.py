"""Every target where nothing is as its author had it: the variables, the locale, HOME, the folder, the user."""

import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from loadtests.settings import ROOT
from loadtests.stacks.catalogue import stacks
from shared.environment import HOME, environment
from shared.mongod import binary, free_port
from tests.conftest import prepared
from tests.harness.exchange import wait_until
from tests.results.sample import PATH

pytestmark = pytest.mark.xdist_group("hostile")
STACK = "gunicorn-gevent"
_WITHIN_S = 150
_NOBODY = 65534
_HOSTILE = {
    "LC_ALL": "de_DE", "LANG": "de_DE", "LANGUAGE": "de",
    "MAKEFLAGS": "-j4", "CDPATH": "/", "BASH_ENV": "/nonexistent", "ENV": "/nonexistent",
    "PYTHONSAFEPATH": "1", "PYTHONPATH": "/nonexistent", "PYTHONHOME": "/nonexistent", "PYTHONIOENCODING": "latin-1",
    "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONOPTIMIZE": "2", "PYTHONWARNINGS": "error",
    "PIP_USER": "1", "PIP_TARGET": "/nonexistent", "PIP_REQUIRE_VIRTUALENV": "1", "PIP_NO_BINARY": ":all:",
    "LOCUST_MODE_MASTER": "1", "LOCUST_HEADLESS": "0", "LOCUST_LOCUSTFILE": "/nonexistent", "LOCUST_LIST": "1",
    "UWSGI_HTTP": ":1", "GUNICORN_CMD_ARGS": "--nonexistent", "FLASK_DEBUG": "1", "PYTEST_PLUGINS": "nonexistent",
    "NODE_OPTIONS": "--nonexistent", "NODE_ENV": "production", "npm_config_dry_run": "true",
    "npm_config_global": "true",
    "JAVA_TOOL_OPTIONS": "-Xmx1k", "_JAVA_OPTIONS": "-nonexistent", "JDK_JAVA_OPTIONS": "-nonexistent",
    "GIT_DIR": str(ROOT / ".git"), "GIT_WORK_TREE": "/", "TMPDIR": "/nonexistent",
}  # fmt: skip
_SHORT = {"STACKS": STACK, "CONNECTIONS": "5", "DURATION": "1s", "ENDPOINTS": "mongo"}


def _python_for_all() -> Path | None:
    """Return a Python of our version that every user may start: root may have its own where nobody else looks."""
    own = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
    for python in (own, Path("/usr/bin", own.name)):
        if python.exists() and all(folder.stat().st_mode & stat.S_IXOTH for folder in python.parents):
            return python
    return None


_PYTHON = _python_for_all() or Path(sys.executable)
_AS_NOBODY = (
    ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--"]
    if os.geteuid() == 0 and _python_for_all()
    else []
)


def _stamps(names: list[str]) -> set[str]:
    return {name for name in names if re.fullmatch(r".*_app\..*", name)}


class Checkout:
    """A copy without .git inside another repository, in a folder with blanks and umlauts, behind a symbolic link."""

    def __init__(self, within: Path) -> None:
        within.chmod(0o755)
        self.home = within / "home"
        self.home.mkdir()
        (self.home / ".locust.conf").write_text("master = true\n")
        (self.home / ".config" / "pip").mkdir(parents=True)
        (self.home / ".config" / "pip" / "pip.conf").write_text("[global]\nuser = true\n")
        around = within / "Größe und Übung"
        subprocess.run(["git", "init", "--quiet", str(around)], check=True)
        one = ["-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "--quiet", "--allow-empty", "-m", "x"]
        subprocess.run(["git", "-C", str(around), *one], check=True)
        self.real = around / "a copy"
        names = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True)
        for name in filter(lambda name: (ROOT / name).is_file(), names.splitlines()):
            (self.real / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.real / name)
        self.root = within / "a link"
        self.root.symlink_to(self.real)

    def with_what_is_set_up(self) -> "Checkout":
        for made in (".nodejs", ".mongodb/server", "node_app/node_modules"):
            if (ROOT / made).exists():
                (self.real / made).parent.mkdir(exist_ok=True)
                (self.real / made).symlink_to(ROOT / made)
        for made in (".venv", "flask_app/.venv"):
            (self.real / made / "bin").mkdir(parents=True)
            (self.real / made / "bin" / "python").symlink_to(_PYTHON)
            (self.real / made / "lib").symlink_to(ROOT / made / "lib")
            (self.real / made / "pyvenv.cfg").write_text(f"home = {_PYTHON.parent}\n")
        for program in ("ruff", "uv"):
            (self.real / ".venv" / "bin" / program).symlink_to(ROOT / ".venv" / "bin" / program)
        # Its first line would name the Python that it was installed for.
        gunicorn = self.real / "flask_app/.venv/bin/gunicorn"
        gunicorn.write_text('#!/bin/sh\nexec python -m gunicorn "$@"\n')
        gunicorn.chmod(0o755)
        shutil.copytree(
            ROOT / ".prepared", self.real / ".prepared", ignore=lambda _, names: set(names) - _stamps(names)
        )
        (self.real / ".venv" / ".ready").touch()
        sample = self.real / "results" / "sample"
        sample.mkdir(parents=True)
        shutil.copy2(PATH, sample / "results.json")
        return self

    def make(self, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
        if _AS_NOBODY:
            subprocess.run(["chown", "-hR", f"{_NOBODY}:{_NOBODY}", str(self.real), str(self.home)], check=True)
        return subprocess.Popen(
            [*_AS_NOBODY, "make", f"PYTHON={_PYTHON}", *arguments],
            cwd=self.root,
            env={"PATH": os.environ["PATH"], **_HOSTILE, **variables},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            start_new_session=True,
        )  # fmt: skip

    def done(self, *arguments: str, **variables: str) -> tuple[int, str]:
        process = self.make(*arguments, **variables)
        try:
            output, _ = process.communicate(timeout=_WITHIN_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        assert "Traceback" not in output, output
        return process.returncode, output


@pytest.fixture(scope="module")
def checkout() -> Iterator[Checkout]:
    prepared(stacks()[STACK].app)
    binary()
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    made = Checkout(folder).with_what_is_set_up()
    yield made
    made.done("db-down")
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("target", "variables"),
    [
        ("help", {}),
        ("db-up", {}),
        ("db-status", {}),
        ("seed", {}),
        (f"wrk-{STACK}", _SHORT),
        ("battle-quick", _SHORT),
        ("report", {"RESULTS": "sample"}),
        ("compare", {"A": "sample", "B": "sample"}),
        ("example", {"RESULTS": "sample"}),
        (f"locust-{STACK}", {"LOCUST_USERS": "5", "LOCUST_RUN_TIME": "2s"}),
        ("results-document", {}),
        ("faults", {"STACKS": STACK, "CASES": "sigint"}),
        ("db-down", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.usefixtures("wrk")
def test_a_target_does_its_work(checkout: Checkout, target: str, variables: dict[str, str]) -> None:
    status, output = checkout.done(target, **variables, PORT=str(free_port()))
    assert status == 0, output
    if target == "battle-quick":
        # The repository around it is not ours.
        results = json.loads((checkout.real / "results" / "latest" / "results.json").read_text())
        assert results["environment"]["git"] is None


@pytest.mark.parametrize("home", ["none", "its files say otherwise", "read-only"])
def test_whatever_home_is(checkout: Checkout, home: str) -> None:
    """The chart library and locust look there."""
    variables = {} if home == "none" else {"HOME": str(checkout.home)}
    if home == "read-only":
        variables = {"HOME": "/proc"}
    status, output = checkout.done("report", **variables, RESULTS="sample")
    assert status == 0, output
    short = {"LOCUST_USERS": "5", "LOCUST_RUN_TIME": "1s", "PORT": str(free_port())}
    status, output = checkout.done(f"locust-{STACK}", **variables, **short)
    assert status == 0, output


@pytest.mark.parametrize("name", [STACK, "node"])
def test_a_stack_serves_until_ctrl_c(checkout: Checkout, name: str) -> None:
    prepared(stacks()[name].app)
    process = checkout.make(f"run-{name}", PORT=str(port := free_port()))
    said = ""
    try:
        while f"wrk -t1 -c200 -d30s --latency http://127.0.0.1:{port}/mongo" not in said:
            line = process.stdout.readline()  # type: ignore[union-attr]
            assert line, said
            said += line
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/mongo", timeout=10) as reply:
            assert b"http://foo.com" in reply.read()
    finally:
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=_WITHIN_S)
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("target", "sign"),
    [
        ("lint", "ruff check ."),
        ("format", "ruff check --fix-only ."),
        ("check", "ruff check ."),
        ("bench-encode", "bench.encode"),
        ("demo-sleep", "Little's law"),
        ("test", "_app: "),
        ("audit", "-m venv"),
        ("lock", "bin/uv pip compile"),
    ],
)
def test_a_long_target_gets_to_its_work(checkout: Checkout, target: str, sign: str) -> None:
    process = checkout.make(target)
    assert process.stdout
    os.set_blocking(process.stdout.fileno(), False)
    seen: list[str] = []

    def begun() -> bool:
        with suppress(BlockingIOError):
            seen.append(os.read(process.stdout.fileno(), 65536).decode())  # type: ignore[union-attr]
        family = psutil.Process(process.pid).children(recursive=True)
        with suppress(psutil.Error):
            seen.extend(" ".join(each.cmdline()) for each in family)
        return sign in "\n".join(seen)

    try:
        wait_until(begun, _WITHIN_S, sign)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(_WITHIN_S)
    with suppress(BlockingIOError):
        seen.append(os.read(process.stdout.fileno(), 65536).decode())
    assert "Traceback" not in "\n".join(seen)


@pytest.mark.parametrize(
    ("target", "variables", "named"),
    [
        ("battle", {"STACKS": "x"}, "no stack is called x"),
        ("battle-2014", {"STACKS": "x"}, "no stack is called x"),
        ("faults-document", {}, "make faults"),
        ("soak", {"STACK": "x"}, "no stack is called x"),
        ("locust-limit", {"DURATION": "x"}, "DURATION"),
        ("locust", {"TARGET": "x"}, "TARGET"),
        ("locust-master", {"TARGET": "x"}, "TARGET"),
        ("locust-worker", {"MASTER": "x:y"}, "MASTER"),
        (f"locust-ui-{STACK}", {"LOCUST_WEB_PORT": "x"}, "port"),
    ],
)
def test_the_others_start_and_refuse_a_bad_setting(
    checkout: Checkout, target: str, variables: dict[str, str], named: str
) -> None:
    status, output = checkout.done(target, **variables)
    assert (status, named in output) == (2, True), output


class TestSetUp:
    """With one small package instead of a hundred."""

    @pytest.fixture
    def fresh(self) -> Iterator[Checkout]:
        folder = Path(tempfile.mkdtemp(prefix="hostile-"))
        made = Checkout(folder)
        lock = (ROOT / "requirements.lock").read_text()
        small = re.search(r"^idna==(.|\n)*?(?=^\S)", lock, re.MULTILINE)
        assert small
        (made.real / "requirements.lock").write_text(small[0])
        yield made
        shutil.rmtree(folder)

    def test_interrupted_at_any_second_it_is_one_line_and_heals(self, fresh: Checkout) -> None:
        for after_s in (0.2, 1, 2, 3):
            process = fresh.make(".venv/.ready")
            with suppress(subprocess.TimeoutExpired):
                process.wait(after_s)
            os.killpg(process.pid, signal.SIGINT)
            output, _ = process.communicate(timeout=_WITHIN_S)
            assert "Traceback" not in output
            assert len([line for line in output.splitlines() if not line.startswith(("make", "Setting up"))]) <= 1
            status, output = fresh.done("clean")
            assert (status, output) == (0, "")
            if after_s == 2:
                (fresh.real / ".venv" / "bin").mkdir(parents=True)  # half of one
        status, output = fresh.done(".venv/.ready")
        assert status == 0, output
        assert (fresh.real / ".venv" / ".ready").exists()
        installed = [str(fresh.real / ".venv/bin/python"), "-c", "import idna; print(idna.__file__)"]
        assert str(fresh.real) in subprocess.check_output(installed, text=True)

    def test_two_at_once_make_one(self, fresh: Checkout) -> None:
        both = [fresh.make(".venv/.ready") for _ in range(2)]
        said = [process.communicate(timeout=_WITHIN_S)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0], said
        assert "".join(said).count("Setting up") == 1


def test_ctrl_c_while_python_starts_is_one_line() -> None:
    command = ["-I", "-S", "shared/environment.py", sys.executable, "-m", "shared", "status"]
    for hundredths in range(12):
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and not _blocks_ctrl_c(process.pid):
            time.sleep(0.002)  # until its first line
        time.sleep(hundredths / 100)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=_WITHIN_S)[1] in ("interrupted\n", "")


def _blocks_ctrl_c(pid: int) -> bool:
    blocked = re.search(r"^SigBlk:\s*(\S+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return blocked is not None and bool(int(blocked[1], 16) & 1 << signal.SIGINT - 1)


@pytest.mark.parametrize(
    "variable",
    [
        "HTTPS_PROXY", "no_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "JAVA_HOME",
        "JAVA_OPTS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PIP_CONFIG_FILE", "PIP_TRUSTED_HOST",
        "npm_config_registry", "NPM_CONFIG_CAFILE", "npm_config_//mirror.example/:_authToken", "UV_INDEX_URL",
        "LOCUST_USERS", "LOCUST_THINK_TIME", "MONGODB_URI", "THREADS", "CFLAGS", "SSH_AUTH_SOCK", "PYTEST_ADDOPTS",
    ],
)  # fmt: skip
def test_what_says_where_things_come_from_stays(variable: str) -> None:
    assert environment({variable: "x"})[variable] == "x"


@pytest.mark.parametrize("variable", ["HOME", "TMPDIR", "TEMP", "TMP", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"])
def test_a_folder_that_cannot_be_written_or_is_another_one_in_each_folder_goes(variable: str) -> None:
    for value in ("/nonexistent", ".", ""):
        assert environment({variable: value}).get(variable) != value
    assert environment({variable: "/tmp"})[variable] == "/tmp"


def test_what_changes_what_is_done_goes() -> None:
    chosen = environment({**_HOSTILE, "HOME": "/tmp"})
    assert _HOSTILE.keys() & chosen.keys() == {"LC_ALL", "PIP_USER", "PYTHONUTF8"}
    assert (chosen["LC_ALL"], chosen["PIP_USER"], chosen["PYTHONUTF8"], chosen["HOME"]) == ("C.UTF-8", "0", "1", "/tmp")
    proxy = "-Dhttps.proxyHost=proxy.example"
    assert environment({"JAVA_TOOL_OPTIONS": f"-Xmx1k {proxy}", "HOME": "/tmp"})["JAVA_TOOL_OPTIONS"] == proxy


@pytest.mark.parametrize("home", [{}, {"HOME": "/nonexistent"}, {"HOME": ""}])
def test_without_a_home_there_is_one_for_a_jvm_too(home: dict[str, str]) -> None:
    chosen = environment(home)
    assert chosen["HOME"] == str(HOME)
    assert chosen["JAVA_TOOL_OPTIONS"] == f"'-Duser.home={HOME}'"
    # The sockets of sbt, which another user's /tmp/.sbt would be in the way of.
    assert str(os.getuid()) in chosen["XDG_RUNTIME_DIR"]
    assert environment(chosen) == chosen


def test_a_jvm_has_the_home_that_others_have(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It would take that of the list of users, where daemons have one that is not there."""
    user = pwd.getpwuid(os.getuid())
    monkeypatch.setattr(pwd, "getpwuid", lambda _: pwd.struct_passwd([*user[:5], "/nonexistent", user[6]]))
    assert environment({"HOME": str(tmp_path)})["JAVA_TOOL_OPTIONS"] == f"'-Duser.home={tmp_path}'"
