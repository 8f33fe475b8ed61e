"""``make results-document``: the schema of results.json, and the tables of docs/results.md, made from the types."""

import json
from typing import Any

from loadtests.results.battle import Results
from loadtests.settings import ROOT

PAGE = ROOT / "docs" / "results.md"
SCHEMA_FILE = ROOT / "docs" / "results.schema.json"
_MARK = "<!-- made by make results-document from loadtests/results/ -->"

Schema = dict[str, Any]


def write_document() -> int:
    """Write both files anew, print where they are, and return the exit status."""
    SCHEMA_FILE.write_text(schema_text())
    PAGE.write_text(page_text(PAGE.read_text()))
    print(f"{SCHEMA_FILE}\n{PAGE}")
    return 0


def schema_text() -> str:
    return json.dumps(Results.model_json_schema(), indent=1) + "\n"


def page_text(page: str) -> str:
    """Return ``page`` with what follows its mark made anew: a table for each type, in the order of their use."""
    schema = Results.model_json_schema()
    types, waiting = {}, [("results.json", schema)]
    while waiting:
        name, of_type = waiting.pop(0)
        if name not in types and "properties" in of_type:
            types[name] = of_type
            used = [part for field in of_type["properties"].values() for part in _references(field)]
            waiting += [(part, schema["$defs"][part]) for part in used]
    tables = [_table(name, of_type) for name, of_type in types.items()]
    return "\n\n".join([page.split(_MARK)[0] + _MARK, *tables]) + "\n"


def _table(name: str, of_type: Schema) -> str:
    head = [f"### {name}", ""]
    if "description" in of_type:
        head += [_on_one_line(of_type["description"]), ""]
    rows = [
        f"| `{field}` | {_kind(what)} | {_on_one_line(what.get('description', ''))} |"
        for field, what in of_type["properties"].items()
    ]
    return "\n".join([*head, "| field | type | what |", "|---|---|---|", *rows])


def _kind(what: Schema) -> str:
    """Return a type in words."""
    match what:
        case {"$ref": reference}:
            name = reference.split("/")[-1]
            return name if name == "Outcome" else f"[{name}](#{name.lower()})"
        case {"anyOf": kinds}:
            return " or ".join(map(_kind, kinds))
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"const": value}:
            return f"`{value}`"
        case {"type": "array", "prefixItems": parts}:
            return f"[{', '.join(map(_kind, parts))}]"
        case {"type": "array", "items": of}:
            return f"list of {_kind(of)}"
        case {"type": "object"}:
            return f"{_kind(what['additionalProperties'])} by name"
    return str(what["type"])


def _references(what: Any) -> list[str]:
    if isinstance(what, dict):
        own = [what["$ref"].split("/")[-1]] if "$ref" in what else []
        return own + [name for part in what.values() for name in _references(part)]
    return [name for part in what for name in _references(part)] if isinstance(what, list) else []


def _on_one_line(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("None", "null").replace("|", "\\|")
