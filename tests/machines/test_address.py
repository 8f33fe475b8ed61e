"""Which other machine is meant, and what cannot work there is said at once."""

import pytest

from loadtests.machines.link import Address
from loadtests.settings import ROOT, BadSetting
from tests.harness.exchange import loadtests


@pytest.mark.parametrize(
    ("text", "destination", "port", "path"),
    [
        ("ssh://10.0.0.2", "10.0.0.2", None, str(ROOT)),
        ("ssh://load@server.example:2222/srv/battle", "load@server.example", 2222, "/srv/battle"),
        ("ssh://load@server/~/battle", "load@server", None, "battle"),
        ("ssh://server/", "server", None, str(ROOT)),
        ("ssh://load@[::1]:2222", "load@::1", 2222, str(ROOT)),
    ],
)
def test_an_address_says_who_where_and_which_folder(text: str, destination: str, port: int | None, path: str) -> None:
    address = Address.parse(text)
    assert (address.destination, address.port, address.path) == (destination, port, path)
    assert address.command()[-2] == destination
    assert path in address.command()[-1]


@pytest.mark.parametrize(
    "text", ["server", "http://server", "ssh://", "ssh://a:hush@server", "ssh://-oProxyCommand=x", "ssh://s:x"]
)
def test_a_bad_address_is_refused(text: str) -> None:
    with pytest.raises(BadSetting, match="SERVER must be such as") as refusal:
        Address.parse(text)
    assert "hush" not in str(refusal.value)


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
    done = loadtests("battle", **{"MONGODB_URI": "", "SERVER": "ssh://127.0.0.1:1", **variables})
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr
