"""``python launch.py``: what stops the start, and that gevent patches where it must and nowhere else."""

import re
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import APP, Start, environment, free_port

from launch import COMMANDS

ANY_STACK = next(iter(COMMANDS))
# What gunicorn is told to load: a configuration, then the module with the application.
GUNICORN = [command.split()[2:] for command in COMMANDS.values() if command.startswith("gunicorn")]
LOADED = {
    **{conf: f"import runpy; runpy.run_path({conf!r})" for conf, _ in GUNICORN},
    **{module: f"import {module.partition(':')[0]}" for _, module in GUNICORN},
}


def launch(*arguments: str, **settings: str) -> tuple[int, list[str]]:
    """Return the exit status of a start that fails, and the lines it wrote."""
    ended = subprocess.run(
        [sys.executable, str(APP / "launch.py"), *arguments],
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=20,
    )
    return ended.returncode, ended.stdout.splitlines()


@pytest.mark.parametrize("arguments", [[], ["apache"], ["gunicorn-sync", "uwsgi-gevent"], ["--help"]])
def test_an_unknown_stack(arguments: list[str]) -> None:
    status, (line,) = launch(*arguments)
    assert status == 2
    assert all(stack in line for stack in COMMANDS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "abc"),
        ("THREADS", "0"),
        ("WEB_CONCURRENCY", "two"),
        ("MONGODB_URI", "mongodb://user:a-password@db:port"),
        ("HOST", "nowhere.invalid"),
        ("HOST", "192.0.2.1"),  # of another machine, if of any
    ],
)
def test_a_bad_setting_is_one_line(name: str, value: str) -> None:
    status, (line,) = launch(ANY_STACK, **{"PORT": str(free_port()), name: value})
    assert status == 2
    assert name in line
    assert "a-password" not in line


@pytest.mark.parametrize("stack", COMMANDS)
def test_a_used_port_is_one_line(stack: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, lines = launch(stack, PORT=str(port))
    assert (status, lines) == (
        2,
        [f"PORT {port} is in use on 127.0.0.1: stop what listens there, or set another PORT"],
    )


def test_a_port_that_another_server_of_ours_listens_on_is_not_shared(start: Start) -> None:
    server = start(ANY_STACK)
    assert [launch(stack, PORT=str(server.port))[0] for stack in COMMANDS] == [2] * len(COMMANDS)
    assert server.answers()


def test_the_soft_limit_of_open_files_is_raised(start: Start) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        server = start("gunicorn-gevent", WORKER_CONNECTIONS="400", MONGODB_MAX_POOL_SIZE="10", THREADS="2")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    limits = Path(f"/proc/{server.process.pid}/limits").read_text()
    assert re.search(r"^Max open files +850 ", limits, re.MULTILINE)


@pytest.mark.parametrize("stack", COMMANDS)
def test_each_address_of_a_name_that_this_machine_has(stack: str, start: Start, tmp_path: Path) -> None:
    """``localhost`` of Debian, where this machine has ::1."""
    server = start(stack, HOST="localhost")
    known = {str(each[4][0]) for each in socket.getaddrinfo("localhost", server.port, type=socket.SOCK_STREAM)}
    for host in known:
        with socket.create_connection((host, server.port), timeout=20) as client:
            client.sendall(b"GET /sleep?ms=0 HTTP/1.0\r\n\r\n")
            reply = b""
            while not reply.endswith(b"}") and (more := client.recv(4096)):
                reply += more
            assert reply.endswith(b'{"slept_ms":0}')


def test_variables_that_servers_read_are_dropped_and_named(start: Start) -> None:
    for stack, name, value in [
        ("uwsgi-threads", "UWSGI_PORT", "tcp://10.0.0.1:80"),
        ("gunicorn-sync", "GUNICORN_CMD_ARGS", "--bind 127.0.0.1:1"),
    ]:
        server = start(stack, **{name: value})
        assert f"not handed on to the server: {name}\n" in server.log.read_text()


def test_a_program_that_is_not_installed_is_one_line(tmp_path: Path) -> None:
    status, lines = launch(ANY_STACK, PORT=str(free_port()), PATH=str(tmp_path))
    assert status == 2
    assert lines[-1].startswith(f"{COMMANDS[ANY_STACK].split()[0]} is not on PATH: ")


def in_fresh_python(code: str) -> str:
    """Return what ``code`` writes in an interpreter that has imported nothing yet."""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=APP,
        env={**environment(), "PYTHONPATH": str(APP)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize("name", [name for name in LOADED if "gevent" not in name])
def test_gevent_is_not_even_imported_where_there_are_threads(name: str) -> None:
    assert in_fresh_python(f"{LOADED[name]}; import sys; print('gevent' in sys.modules)") == "False"


@pytest.mark.parametrize("name", [name for name in LOADED if "gevent" in name])
def test_gevent_patches_before_the_driver_is_imported(name: str) -> None:
    """A module that had taken the blocking lock or socket would have kept it."""
    code = f"""
import sys
from gevent import monkey
patch_all = monkey.patch_all
def patch_and_tell():
    print(sorted(name for name in ("ssl", "pymongo", "flask", "config") if name in sys.modules))
    patch_all()
monkey.patch_all = patch_and_tell
{LOADED[name]}
print(all(map(monkey.is_module_patched, ("socket", "ssl", "threading", "time", "select"))))
"""
    assert in_fresh_python(code) == "[]\nTrue"


@pytest.mark.parametrize(("conf", "module"), GUNICORN)
def test_one_line_about_the_settings_when_gunicorn_is_typed_without_launch(conf: str, module: str) -> None:
    ended = subprocess.run(
        ["gunicorn", "--config", conf, module],
        cwd=APP,
        env=environment(PORT=str(free_port()), THREADS="none"),
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (ended.returncode, ended.stderr.strip()) == (2, "THREADS must be an integer from 1 to 10000, not 'none'")
