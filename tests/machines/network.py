"""Three machines on one: network namespaces on a switch, a mongod on the third, a real sshd on the second."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.results import file as results_file
from loadtests.results.battle import Results
from loadtests.settings import ROOT
from loadtests.stacks.catalogue import named
from shared import mongod
from shared.system_packages import Unavailable, require
from tests.harness.exchange import wait_until

STACK = "gunicorn-gthread"
_ENDS_WITHIN_S = 100
_READY_WITHIN_S = 40


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

    def is_idle(self) -> bool:
        """Return whether nothing listens there but sshd."""
        return {port for _, port in self.listens()} == {22}

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
        seed = self.client.command(sys.executable, "-m", "shared", "seed")
        subprocess.run(seed, cwd=ROOT, env=environment, check=True, capture_output=True)
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
            # pytest shows it where the test fails.
            print(battle.output)


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

    def results(self) -> Results:
        folder = next(Path(line.split()[-1]) for line in self.output.splitlines() if "servers' logs:" in line)
        return results_file.read(folder)


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"ip {' '.join(words)}: {done.stderr.strip()}")


@contextmanager
def three_machines(folder: Path) -> Iterator[Network]:
    """Set them up below ``folder`` for the block. Raises Unavailable."""
    require(["ip", "sshd", "wrk"])
    if os.geteuid() != 0:
        raise Unavailable("network namespaces need root")
    with ExitStack() as cleanup:
        switch, client, server, database = _hosts(cleanup)
        uri = _mongod(database, folder, cleanup)
        options = _sshd(server, folder, cleanup)
        yield Network(switch, client, server, database, uri, copied_repository(folder), options)


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
    wait_until(lambda: (host.address, 27017) in host.listens(), _READY_WITHIN_S, "mongod")
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
    wait_until(lambda: (host.address, 22) in host.listens(), _READY_WITHIN_S, "sshd")
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


def copied_repository(folder: Path) -> Path:
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
