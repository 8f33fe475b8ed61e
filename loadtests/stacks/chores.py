"""``make lint``, ``format``, ``bench-encode`` and ``audit``: the same chore in every app, and in the project itself."""

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from loadtests.settings import ROOT
from loadtests.stacks import toolchain
from loadtests.stacks.catalogue import App, apps
from shared.set_up import run
from shared.system_packages import Unavailable

_LINT = ("ruff check .", "ruff format --check .", "mypy", "lint-imports --no-cache --no-logo")
_FORMAT = ("ruff check --fix-only .", "ruff format .")
_FAILED = 1
_INTERRUPTED = 130
_SETTING_UP = threading.Lock()
_SOURCES = {".py", ".js", ".scala", ".sbt", ".conf", ".ini"}
_MADE = {".venv", "node_modules", "target"}


def lint() -> int:
    """Check the style and the types of everything; return the exit status."""
    status = _everywhere(_LINT, lambda app: app.lint)
    for app in apps().values():
        for place in reaching_out(app.folder):
            print(f"{place} names what is outside of {app.name}, which must be complete in itself", file=sys.stderr)
            status = _FAILED
    return status


def reaching_out(folder: Path) -> list[str]:
    """Return the lines, as ``FILE:LINE``, in which an app's code imports something from outside of its ``folder``."""
    others = "|".join(sorted({"shared", "loadtests", *apps()} - {folder.name}))
    reaching = re.compile(rf"\b(import|from|require)\W+({others})\b|\.\./({others})\b")
    sources = (path for path in sorted(folder.rglob("*")) if path.suffix in _SOURCES and path.is_file())
    return [
        f"{path.relative_to(folder.parent)}:{number}"
        for path in sources
        if not _MADE & set(path.parts)
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if reaching.search(line)
    ]


def format_code() -> int:
    """Lay out the code of everything; return the exit status."""
    return _everywhere(_FORMAT, lambda app: app.format)


def bench_encode() -> int:
    """Time each app's encoder on the big fixture, one after the other; return the exit status."""
    fixture = ROOT / ".prepared" / "big.bson"
    toolchain.write_big_fixture(fixture)
    status = 0
    for app in apps().values():
        status |= _in_app(app, [f"{app.bench_encode} {shlex.quote(str(fixture))}"], toolchain.prepare)
    return status


def audit() -> int:
    """Look the locked dependencies up among the known vulnerabilities; return 1 where one has some.

    What cannot be looked up from here is named with the reason: it is not called safe.
    """
    auditor = ROOT / ".prepared" / "audit"
    lock = ROOT / "requirements-audit.lock"
    stamp = auditor / lock.name
    if not (stamp.exists() and stamp.read_text() == lock.read_text()):
        run([sys.executable, "-m", "venv", "--clear", str(auditor)], "audit")
        install = ["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--requirement", str(lock)]
        run([str(auditor / "bin" / "python"), "-m", "pip", *install], "audit")
        stamp.write_text(lock.read_text())
    found = [
        *(_audited_python(auditor, path) for path in sorted(ROOT.glob("requirements*.lock"))),
        *(_audited_python(auditor, path) for path in sorted(ROOT.glob("*_app/requirements*.lock"))),
        *(_audited_python(auditor, path) for path in sorted(ROOT.glob("*_app/tests/requirements.lock"))),
        *(_audited_node(app) for app in apps().values() if (app.folder / "package-lock.json").exists()),
    ]
    for path in sorted(ROOT.glob("*_app/build.sbt")):
        print(
            f"{path.parent.name}: not looked up: auditors of jars need the NVD's database, which is not among the "
            "registries that the build uses"
        )
    return _FAILED if any(found) else 0


def _audited_python(auditor: Path, lock: Path) -> bool:
    """Print what is known of the packages in ``lock``; return whether one is vulnerable."""
    command = [str(auditor / "bin" / "pip-audit"), "--disable-pip", "--require-hashes", "--format", "json"]
    done = subprocess.run([*command, "--requirement", str(lock)], capture_output=True, text=True)
    name = lock.relative_to(ROOT)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"{name}: not looked up: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}")
        return False
    vulnerable = [package for package in packages if package.get("vulns")]
    unknown = [package for package in packages if "skip_reason" in package]
    for package in vulnerable:
        ids = ", ".join(each["id"] for each in package["vulns"])
        print(f"! {name}: {package['name']} {package['version']}: {ids}")
    if len(unknown) == len(packages):
        print(f"{name}: not looked up: {unknown[0]['skip_reason']}" if unknown else f"{name}: holds no package")
        return False
    said = f"{name}: {len(packages) - len(unknown)} of {len(packages)} looked up, {len(vulnerable)} vulnerable"
    print(said + (f"; the others not: {unknown[0]['skip_reason']}" if unknown else ""))
    return bool(vulnerable)


def _audited_node(app: App) -> bool:
    """Print what npm knows of the packages that ``app`` locks; return whether one is vulnerable."""
    try:
        done = subprocess.run(
            ["npm", "audit", "--audit=true", "--json"],
            cwd=app.folder,
            env=toolchain.environment(app),
            capture_output=True,
            text=True,
        )
        answer = json.loads(done.stdout)
    except (OSError, ValueError) as error:
        print(f"{app.name}: not looked up: {error}")
        return False
    if "vulnerabilities" not in answer:
        reason = answer.get("error", {}).get("summary") or answer.get("message") or "no answer"
        print(f"{app.name}: not looked up: {reason}")
        return False
    for name, entry in answer["vulnerabilities"].items():
        print(f"! {app.name}: {name} {entry['range']}: {entry['severity']}")
    print(f"{app.name}: looked up, {len(answer['vulnerabilities'])} vulnerable")
    return bool(answer["vulnerabilities"])


def _everywhere(own: Sequence[str], of_app: Callable[[App], Sequence[str]]) -> int:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    chores: list[Callable[[], int]] = [partial(_in_app, app, of_app(app)) for app in apps().values()]
    chores.insert(0, lambda: max(_run(command, ROOT, {**os.environ, "PATH": programs}) for command in own))
    # Most linters use one processor. In one folder they go one after the other, since some write there.
    side_by_side = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        return max(future.result() for future in [side_by_side.submit(chore) for chore in chores])
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        os._exit(_INTERRUPTED)  # else the threads would go on to the next command


def _in_app(app: App, commands: Sequence[str], prepare: Callable[[App], None] = toolchain.prepare_tests) -> int:
    try:
        # Two may want the same system tool, and apt-get runs once at a time.
        with _SETTING_UP:
            prepare(app)
    except Unavailable as reason:
        print(f"{app.name} skipped: {reason}", file=sys.stderr)
        # CI installs everything, so that there a missing tool is a failure.
        return _FAILED if os.environ.get("CI") else 0
    return max((_run(command, app.folder, toolchain.environment(app)) for command in commands), default=0)


def _run(command: str, folder: Path, environment: dict[str, str]) -> int:
    """Run a command and show what it says when it is over, so that two at once do not speak between each other."""
    done = subprocess.run(
        shlex.split(command), cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    place = "" if folder == ROOT else f"{folder.name}: "
    print(f"{place}{command}\n{done.stdout}", file=sys.stderr, end="", flush=True)
    return _FAILED if done.returncode else 0
