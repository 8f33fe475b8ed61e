"""results.json: written so that a crash loses at most the cell in hand, and read back."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from loadtests.results.battle import SCHEMA, Results
from loadtests.settings import RESULTS, BadSetting

FOLDER = RESULTS
_NAME = "results.json"


class CannotWrite(Exception):
    """The results cannot be kept: disk full, or a folder that may not be written to. The message is one line."""


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def writing(what: Path) -> Iterator[None]:
    """Raise CannotWrite where something in the block cannot be written."""
    try:
        yield
    except OSError as error:
        raise CannotWrite(f"{what} cannot be written to: {error.strerror}") from None


def dated_folder(within: Path, name: str = "") -> Path:
    """Make a folder named after the time, with ``name`` at the end. Raises CannotWrite."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ") + name
    with writing(within):
        # A clock that was set back may come by the same second again.
        folder = next(path for n in range(1000) if not (path := within / (f"{stamp}-{n}" if n else stamp)).exists())
        folder.mkdir(parents=True)
    return folder


def new_folder(within: Path = FOLDER) -> Path:
    """Make a folder for a battle, and point ``latest`` at it. Raises CannotWrite."""
    folder = dated_folder(within)
    pointer = within / ".latest.new"
    with writing(within):
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(folder.name)
        pointer.replace(within / "latest")
    return folder


def write(results: Results, folder: Path) -> None:
    """Write results.json. Raises CannotWrite."""
    results.updated = now()
    write_whole(folder / _NAME, _text(results))


def write_whole(path: Path, text: str) -> None:
    """Put the whole file beside the old one, on the disk itself, and rename it over. Raises CannotWrite."""
    unfinished = path.with_name(f"{path.name}.new")
    with writing(path):
        with unfinished.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        # The rename is on the disk only when its folder is.
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def find(name: str, within: Path = FOLDER) -> Path:
    """Return the folder that ``latest``, a folder's name, or a path to it or its file means. Raises BadSetting."""
    for path in (within / name, Path(name)):
        folder = (path.parent if path.name == _NAME else path).resolve()
        if (folder / _NAME).is_file():
            return folder
    raise BadSetting(f"no results are called '{name}': give latest, the name of a folder in {within}, or a path")


def read(folder: Path) -> Results:
    """Return the results in ``folder``. Raises BadSetting, with one line, when they are not of this schema."""
    path = folder / _NAME
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as problem:
        raise BadSetting(f"{path} cannot be read: {problem}") from None
    number = content.get("schema") if isinstance(content, dict) else None
    if number != SCHEMA:
        raise BadSetting(f"{path} is of schema {number}, this bench reads {SCHEMA}: measure again, or use its commit")
    try:
        return Results.model_validate(content)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BadSetting(f"{path} is not of schema {SCHEMA}: {where}: {first['msg']}") from None


def _text(results: Results) -> str:
    # One line for each cell: still JSON, and a person can grep and diff it.
    parts = []
    for name, value in results.model_dump(mode="json", by_alias=True).items():
        lines = isinstance(value, list) and value
        text = "[\n" + ",\n".join(map(_line, value)) + "\n]" if lines else _line(value)
        parts.append(f'"{name}": {text}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
