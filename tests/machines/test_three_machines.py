"""Load, server and database on three machines: network namespaces here, with a real sshd between the first two."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadtests.machines.agent import SILENCE_S
from loadtests.machines.machine import Address
from loadtests.results import file as results_file
from loadtests.settings import ROOT, BadSetting
from loadtests.stacks.catalogue import named
from shared import mongod
from shared.mongod import Mongod, free_port
from shared.seed import seed
from shared.system_packages import Unavailable, require
from tests.conftest import IN_CI, prepared

STACK = "gunicorn-gthread"
_ENDS_WITHIN_S = 100


@dataclass(frozen=True)
class Host:
    """A namespace that plays a machine."""

    namespace: str
    address: str

    @property
    def link(self) -> str:
        """The name of its cable's other end, in the switch."""
        return f"port{self.address.rsplit('.', 1)[1]}"

    def command(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *words]

    def listens(self) -> set[tuple[str, int]]:
        """Return the addresses that something listens on there."""
        lines = subprocess.check_output(self.command("ss", "-Hltn"), text=True).splitlines()
        sockets = (line.split()[3].rsplit(":", 1) for line in lines)
        return {(host, int(port)) for host, port in sockets}

    def connections(self) -> int:
        return len(subprocess.check_output(self.command("ss", "-Htn", "state", "established"), text=True).splitlines())


@dataclass(frozen=True)
class Network:
    """Three machines on a switch, a mongod on the third, and how to log in to the second."""

    switch: str
    client: Host
    server: Host
    database: Host
    mongodb_uri: str
    repository: Path
    ssh_options: str

    def connected(self, host: Host, yes: bool) -> None:
        """Plug the cable of ``host`` in or out."""
        ip("-n", self.switch, "link", "set", host.link, "up" if yes else "down")

    @contextmanager
    def battle(self, **variables: str) -> Iterator["Battle"]:
        """Run ``make battle`` on the client while in the block."""
        environment = {
            **os.environ,
            "SERVER": f"ssh://root@{self.server.address}{self.repository}", "SSH_OPTIONS": self.ssh_options,
            "MONGODB_URI": self.mongodb_uri, "STACKS": STACK, "CONNECTIONS": "20", "DB_LATENCY_MS": "0", **variables,
        }  # fmt: skip
        process = subprocess.Popen(
            self.client.command(sys.executable, "-m", "loadtests", "battle-quick"),
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip
        battle = Battle(process)
        try:
            yield battle
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


class Battle:
    """A battle under way, with what it has said so far."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.output = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line

    def ended(self) -> int:
        """Wait for its end and return its exit status."""
        status = self.process.wait(_ENDS_WITHIN_S)
        self._reader.join(5)
        return status

    def results(self) -> dict[str, Any]:
        folder = next(Path(line.split()[-1]) for line in self.output.splitlines() if "servers' logs:" in line)
        return results_file.read(folder)


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"ip {' '.join(words)}: {done.stderr.strip()}")


def wait_until(condition: Callable[[], object], what: str, within_s: float = 40) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp("three")
    prepared(named([STACK])[0].app)
    with ExitStack() as cleanup:
        try:
            require(["ip", "sshd", "wrk"])
            if os.geteuid() != 0:
                raise Unavailable("network namespaces need root")
            switch, client, server, database = _hosts(cleanup)
        except Unavailable as reason:
            if IN_CI:
                raise
            pytest.skip(str(reason))
        uri = _mongod(database, folder, cleanup)
        options = _sshd(server, folder, cleanup)
        yield Network(switch, client, server, database, uri, _repository(folder), options)


def _hosts(cleanup: ExitStack) -> tuple[str, Host, Host, Host]:
    prefix = f"battle{os.getpid()}"
    switch = f"{prefix}-switch"
    hosts = [Host(f"{prefix}-{name}", f"10.88.77.{n}") for n, name in enumerate(("client", "server", "database"), 1)]
    for namespace in (switch, *(host.namespace for host in hosts)):
        ip("netns", "add", namespace)
        cleanup.callback(ip, "netns", "del", namespace)
        ip("-n", namespace, "link", "set", "lo", "up")
    ip("-n", switch, "link", "add", "bridge", "type", "bridge")
    ip("-n", switch, "link", "set", "bridge", "up")
    for host in hosts:
        ip("link", "add", host.link, "netns", switch, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
        ip("-n", switch, "link", "set", host.link, "master", "bridge", "up")
        ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
        ip("-n", host.namespace, "link", "set", "eth0", "up")
    return switch, hosts[0], hosts[1], hosts[2]


def _mongod(host: Host, folder: Path, cleanup: ExitStack) -> str:
    (folder / "data").mkdir()
    command = [
        str(mongod.binary()), "--dbpath", str(folder / "data"), "--bind_ip", host.address, "--port", "27017",
        "--nounixsocket", "--quiet", "--wiredTigerCacheSizeGB", "0.25",
        "--setParameter", "diagnosticDataCollectionEnabled=false",
    ]  # fmt: skip
    _start(host.command(*command), folder / "mongod.log", cleanup)
    wait_until(lambda: (host.address, 27017) in host.listens(), "mongod")
    return f"mongodb://{host.address}:27017"


def _sshd(host: Host, folder: Path, cleanup: ExitStack) -> str:
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    (folder / "sshd_config").write_text(
        f"ListenAddress {host.address}:22\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/user_key.pub\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    _start(host.command(_path_of("sshd"), "-D", "-e", "-f", str(folder / "sshd_config")), folder / "sshd.log", cleanup)
    wait_until(lambda: (host.address, 22) in host.listens(), "sshd")
    public = (folder / "host_key.pub").read_text()
    (folder / "known_hosts").write_text(f"{host.address} {public}")
    return f"-F none -i {folder}/user_key -o UserKnownHostsFile={folder}/known_hosts -o IdentitiesOnly=yes"


def _path_of(program: str) -> str:
    return shutil.which(program, path="/usr/sbin:/usr/bin") or program


def _start(command: list[str], log: Path, cleanup: ExitStack) -> None:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )

    def end() -> None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)

    cleanup.callback(end)


def _repository(folder: Path) -> Path:
    """The other machine has a copy of the repository, set up as this one is."""
    copy = folder / "battle"
    names = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True).splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    app = named([STACK])[0].app.name
    for name in (".venv", f"{app}/.venv"):
        (copy / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / ".prepared", copy / ".prepared")
    return copy


def test_the_bench_runs_here_and_the_stack_there(network: Network) -> None:
    with network.battle(ENDPOINTS="mongo", DURATION="2s", DB_LATENCY_MS="0") as battle:
        wait_until(lambda: network.server.connections() > 15, "load on the server")
        listening = {address for address in network.server.listens() if address[1] != 22}
        assert {host for host, _ in listening} == {network.server.address}
        assert battle.ended() == 0, battle.output
    results = battle.results()
    machines = results["machines"]
    assert machines["server"]["listens_at"] == network.server.address
    assert machines["database"]["cpus_online"] == os.cpu_count()
    for trip in machines["round_trip_ms"].values():
        assert 0 < trip["least"] <= trip["median"] <= trip["most"]
        assert trip["median"] < 50
    (cell,) = results["cells"]
    assert cell["outcomes"]["ok"] > 20 and cell["finds"]["verdict"] == "equal"
    assert cell["cost"]["server"]["cores"] > 0 and cell["cost"]["server"]["processes"] >= 2
    assert cell["cost"]["database"] is None
    assert network.server.address in cell["wrk"]["command"]
    assert "whoever reaches that address is served" in battle.output
    assert nothing_runs_on(network.server)


def test_a_lost_connection_fails_the_cell_and_no_more(network: Network) -> None:
    """The cell says why, the stack stops by itself, and when the other machine is back the battle goes on there."""
    with network.battle(ENDPOINTS="mongo mongo_big", DURATION="4s") as battle:
        wait_until(lambda: network.server.connections() > 15, "load on the server")
        network.connected(network.client, False)
        try:
            wait_until(lambda: nothing_runs_on(network.server), "the stack's end", within_s=SILENCE_S + 10)
            wait_until(lambda: "failed:" in battle.output, "the cell's end")
        finally:
            network.connected(network.client, True)
        assert battle.ended() == 1, battle.output
    results = battle.results()
    (failure,) = results["failed"]
    assert failure["fault"] == "bench" and failure["column"]["endpoint"] == "mongo"
    assert network.server.address in failure["reason"]
    assert [cell["endpoint"] for cell in results["cells"]] == ["mongo_big"]
    assert results["state"] == "complete"
    with network.battle(RESUME=results["id"]) as again:
        assert again.ended() == 0, again.output
    assert {cell["endpoint"] for cell in again.results()["cells"]} == {"mongo", "mongo_big"}
    assert nothing_runs_on(network.server)


def nothing_runs_on(host: Host) -> bool:
    return {port for _, port in host.listens()} == {22}


class AgentByPipe:
    """An agent without ssh, as if the other machine were this one."""

    def __init__(self, folder: Path) -> None:
        self._number = 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "loadtests", "agent"],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, do: str, **details: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        self._number += 1
        self.process.stdin.write(json.dumps({"id": self._number, "do": do, **details}) + "\n")
        self.process.stdin.flush()
        reply = json.loads(self.process.stdout.readline())
        assert reply["id"] == self._number
        return reply.get("result", reply)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()


@pytest.fixture
def agent(tmp_path: Path, database_server: Mongod) -> Iterator[AgentByPipe]:
    prepared(named([STACK])[0].app)
    seed(database_server.uri, "agent")
    agent = AgentByPipe(_repository(tmp_path))
    yield agent
    if agent.process.poll() is None:
        agent.close()
        agent.process.wait(20)


def start_and_find(agent: AgentByPipe, uri: str) -> list[psutil.Process]:
    settings = {"MONGODB_DATABASE": "agent", "WEB_CONCURRENCY": "2"}
    agent.ask("start", stack=STACK, uri=uri, settings=settings, host="127.0.0.1")
    agent.ask("ready")

    def found() -> list[psutil.Process]:
        return psutil.Process(agent.process.pid).children(recursive=True)

    # The first worker answers while the second one is still forked.
    wait_until(lambda: len(found()) == 1 + 2, "gunicorn's first process and two workers")
    return found()


def test_the_agent_starts_watches_and_stops_a_stack(agent: AgentByPipe, database_server: Mongod) -> None:
    assert agent.ask("hello")["cpus"] == sorted(os.sched_getaffinity(0))
    started = start_and_find(agent, database_server.uri)
    agent.ask("watch_begin")
    agent.ask("watch_sample")
    agent.ask("watch_end")
    assert agent.ask("watch_cost", wall_s=1.0, requests=10)["processes"] == len(started)
    assert 0 <= agent.ask("watch_machine", ours_s=0.0)["busy"] <= 1
    assert agent.ask("poll") is None
    assert agent.ask("stop") == 0
    assert agent.ask("poll")["error"] == "bug"
    assert agent.ask("start", stack="apache", uri="", settings={}, host="127.0.0.1")["error"] == "BadSetting"
    assert agent.ask("bell", host="192.0.2.1")["text"].startswith("HOST 192.0.2.1 is no address of that machine")
    agent.close()
    assert agent.process.wait(20) == 0
    assert not psutil.wait_procs(started, timeout=1)[1]


@pytest.mark.parametrize("end", ["its input ends", "it is killed"])
def test_nothing_outlives_the_agent(end: str, agent: AgentByPipe, database_server: Mongod) -> None:
    started = start_and_find(agent, database_server.uri)
    if end == "it is killed":
        agent.process.kill()
    else:
        agent.close()
    agent.process.wait(20)
    assert not psutil.wait_procs(started, timeout=10)[1]


@pytest.mark.parametrize(
    ("text", "destination", "port", "path"),
    [
        ("ssh://10.0.0.2", "10.0.0.2", None, str(ROOT)),
        ("ssh://load@server.example:2222/srv/battle", "load@server.example", 2222, "/srv/battle"),
        ("ssh://load@server/~/battle", "load@server", None, "battle"),
        ("ssh://server/", "server", None, str(ROOT)),
    ],
)
def test_an_address_says_who_where_and_which_folder(text: str, destination: str, port: int | None, path: str) -> None:
    address = Address.parse(text)
    assert (address.destination, address.port, address.path) == (destination, port, path)
    assert address.command()[-2] == destination
    assert path in address.command()[-1]


@pytest.mark.parametrize(
    "text", ["server", "http://server", "ssh://", "ssh://a:b@server", "ssh://-oProxyCommand=x", "ssh://s:x"]
)
def test_a_bad_address_is_refused(text: str) -> None:
    with pytest.raises(BadSetting, match="SERVER must be such as"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "SERVER needs MONGODB_URI"),
        ({"MONGODB_URI": "mongodb://127.0.0.1:27017"}, "MONGODB_URI names 127.0.0.1, which is another machine"),
        ({"MONGODB_URI": "mongodb://10.0.0.3", "CPUS_SERVER": "0"}, "CPUS_SERVER shares out one machine"),
        (
            {"MONGODB_URI": "mongodb://10.0.0.3"},
            "SERVER ssh://127.0.0.1:1 cannot be used: the connection to 127.0.0.1 ended",
        ),
    ],
)
def test_what_cannot_work_is_one_line_and_status_2(variables: dict[str, str], says: str) -> None:
    environment = {**os.environ, "MONGODB_URI": "", "SERVER": f"ssh://127.0.0.1:{1 if variables else free_port()}"}
    done = subprocess.run(
        [sys.executable, "-m", "loadtests", "battle"],
        cwd=ROOT, env={**environment, **variables}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr
