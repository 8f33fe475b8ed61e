"""The environment of every command that the project runs: ``python3 -I shared/environment.py COMMAND``.

pip, npm, git, Python, locust, uWSGI, Node.js and the JVM read variables of their own. The rule: a variable of theirs
that says where things come from (an index, a mirror, a proxy, a certificate, a cache) stays; one that changes what is
done goes. Every other variable stays as it is. Standard library only: it runs before the project's own Python is there.
"""

# The half of `signal` that takes no time to load.
import _signal as signal  # type: ignore[import-not-found]

# Until somebody can tell of a Ctrl-C in one line: while Python starts it tells in twenty.
_UNTOLD = {signal.SIGINT}
if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, _UNTOLD)

import os
import pwd
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
# A HOME that is the project's own: empty of settings, and always writable.
HOME = ROOT / ".prepared" / "home"

_OF_TOOLS = re.compile(
    r"PYTHON.+|PIP_.*|UV_.*|PYTEST_.*|MYPY.*|RUFF_.*|UWSGI_.*|GUNICORN_.*|FLASK_.*|GEVENT_.*|GEVENTARES_.*|LOCUST_.*|"
    r"NPM_CONFIG_.*|NODE_.*|GIT_.*|MAVEN_ARGS|CLASSPATH|LANG|LANGUAGE|LC_.*|"
    r"(GNU)?MAKE(FLAGS|FILES|LEVEL|OVERRIDES|_.*)|MFLAGS|VIRTUAL_ENV|BASH_ENV|ENV|SHELLOPTS|BASHOPTS|CDPATH|POSIXLY_CORRECT",
    re.IGNORECASE,
)
_STAY = re.compile(
    r"PIP_(.*INDEX.*|FIND_LINKS|TRUSTED_HOST|PROXY|(CLIENT_)?CERT|CONFIG_FILE|CACHE_DIR|KEYRING_.*|.*TIMEOUT|RETRIES)|"
    r"UV_(.*INDEX.*|FIND_LINKS|NATIVE_TLS|SYSTEM_CERTS|INSECURE_HOST|CACHE_DIR)|PYTEST_ADDOPTS|"
    r"NPM_CONFIG_(.*REGISTRY|//.*|.*PROXY|CA|CAFILE|CERT|KEY|STRICT.SSL|(USER|GLOBAL)CONFIG|CACHE)|"
    r"NODE_(EXTRA_CA_CERTS|USE_SYSTEM_CA|USE_ENV_PROXY)|"
    # locust's are the settings of `make locust-NAME`: how much of what, never which part it plays.
    r"LOCUST_(USERS|SPAWN_RATE|RUN_TIME|(EXCLUDE_)?TAGS|USER_CLASSES|CONFIG_USERS|PROCESSES|LOGLEVEL|"
    r"THINK_TIME|BIG_SHARE|FEED_RATE|SLEEP_MS|BURST|BURST_PERIOD|WEB_(HOST|PORT|LOGIN)|TLS_(CERT|KEY)|"
    r"MASTER_BIND_(HOST|PORT)|EXPECT_WORKERS(_MAX_WAIT)?|RECORD|(SMALL|BIG)_SHA256)",
    re.IGNORECASE,
)
# Options for every JVM, not for the server alone as JAVA_OPTS is. Of them only the network's stay.
OF_EVERY_JVM = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "MAVEN_OPTS", "SBT_OPTS")
_OF_NETWORK = re.compile(r"-D(?:https?\.|ftp\.|socks|java\.net\.|javax\.net\.ssl\.)\S+")


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return what a command of the project gets where a person has ``given``."""
    chosen = {name: value for name, value in given.items() if _STAY.fullmatch(name) or not _OF_TOOLS.fullmatch(name)}
    for name in OF_EVERY_JVM:
        if options := " ".join(_OF_NETWORK.findall(chosen.pop(name, ""))):
            chosen[name] = options
    chosen |= {
        "LC_ALL": "C.UTF-8",
        "PYTHONUTF8": "1",
        "PYTHONNOUSERSITE": "1",
        # A pip.conf may say otherwise, and is obeyed in the rest: it names the index.
        "PIP_USER": "0",
        # The commit of a repository around this folder is not ours.
        "GIT_CEILING_DIRECTORIES": str(ROOT.parent),
    }
    chosen.setdefault("PATH", os.defpath)
    for name in ("HOME", "TMPDIR", "TEMP", "TMP", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"):
        folder = chosen.get(name, "")
        if not (Path(folder).is_absolute() and os.access(folder, os.W_OK | os.X_OK)):
            chosen.pop(name, None)
    # sbt has its sockets there: by default in one folder of /tmp, which belongs to the first user of the machine.
    chosen.setdefault("XDG_RUNTIME_DIR", f"/tmp/stack-battle-{os.getuid()}")
    # A JVM asks the list of users instead.
    if chosen.setdefault("HOME", str(HOME)) == str(HOME) or not os.access(_home_in_the_list(), os.W_OK | os.X_OK):
        options = f"{chosen.get('JAVA_TOOL_OPTIONS', '')} '-Duser.home={chosen['HOME']}'"
        chosen["JAVA_TOOL_OPTIONS"] = options.strip()
    return chosen


def _home_in_the_list() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a number without a name, as containers have it
        return ""


def choose() -> None:
    """Start this program again where it has another environment, and let Ctrl-C end it with one line."""
    sys.excepthook = _tell
    chosen = environment(os.environ)
    if chosen != os.environ:
        signal.pthread_sigmask(signal.SIG_BLOCK, _UNTOLD)
        _become([sys.executable, *sys.orig_argv[1:]], chosen)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _UNTOLD)


def _become(command: list[str], chosen: dict[str, str]) -> None:
    try:
        HOME.mkdir(parents=True, exist_ok=True)
        os.execvpe(command[0], command, chosen)
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if __name__ == "__main__":
    if not re.match("-m (loadtests|shared|tests)", " ".join(sys.argv[2:4])):
        # It will not come here again.
        sys.excepthook = _tell
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _UNTOLD)
    _become(sys.argv[1:], environment(os.environ))
