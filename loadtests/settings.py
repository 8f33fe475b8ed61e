"""The make variables, read from the environment: ``make battle DURATION=5s`` puts them there. And where things are."""

import os
import re
from ipaddress import ip_address
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"

_ENDPOINTS = ("mongo", "mongo_big", "sleep")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


class BadSetting(Exception):
    """A variable has a value that cannot be used. The message is one line that names it."""


def whole_number(name: str, default: int, least: int = 1, most: int = 1_000_000) -> int:
    text = os.environ.get(name) or str(default)
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise BadSetting(f"{name} must be an integer from {least} to {most}, not '{text}'")
    return int(text)


def whole_numbers(name: str, default: str, least: int = 1, most: int = 1_000_000) -> list[int]:
    """Return a list such as ``200 1000``, each number once, in the order given."""
    texts = words(name, default)
    if not texts or not all(re.fullmatch(r"[0-9]{1,9}", text) and least <= int(text) <= most for text in texts):
        raise BadSetting(f"{name} must be integers from {least} to {most}, not '{' '.join(texts)}'")
    return list(dict.fromkeys(map(int, texts)))


def duration_s(name: str, default: str) -> int:
    """Return a duration such as ``30s``, ``2m`` or ``30`` in seconds."""
    text = os.environ.get(name) or default
    match = re.fullmatch(r"([0-9]{1,6})([smh]?)", text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if seconds < 1:
        raise BadSetting(f"{name} must be a duration such as 30s or 2m, not '{text}'")
    return seconds


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach what listens at ``host``."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def authority(host: str, port: int | str) -> str:
    """Return host and port as they stand in a URL: the colons of an IPv6 address are in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def words(name: str, default: str = "") -> list[str]:
    """Return the words of a variable; commas separate as spaces do."""
    return (os.environ.get(name) or default).replace(",", " ").split()


def endpoints(default: str = "mongo mongo_big") -> list[str]:
    """Return ENDPOINTS as paths without their query."""
    chosen = [word.lstrip("/") for word in words("ENDPOINTS", default)]
    unknown = [word for word in chosen if word not in _ENDPOINTS]
    if unknown:
        raise BadSetting(f"ENDPOINTS must be some of {' '.join(_ENDPOINTS)}, not '{' '.join(unknown)}'")
    return chosen
