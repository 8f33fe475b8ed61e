"""What other programs said, as it may be shown and kept."""

import re


def without_secrets(text: str) -> str:
    """Return ``text`` with no login, no password, no options of a JVM."""
    text = re.sub(r"^(NOTE: )?Picked up .*\n?", "", text, flags=re.MULTILINE)
    text = re.sub(r"mongodb(\+srv)?://\S+", r"mongodb\1://***", text)
    text = re.sub(r"://\S*@", "://***@", text)
    return re.sub(r"(?i)([\w.-]*(?:passw|secret|token|credential)[\w.-]*['\"]?\s*[=:]\s*)\S+", r"\1***", text)
