"""What other programs said, as it may be shown and kept."""

import re


def without_secrets(text: str) -> str:
    """Return ``text`` with no login, no password, no options of a JVM."""
    text = re.sub(r"^(NOTE: )?Picked up .*\n?", "", text, flags=re.MULTILINE)
    text = re.sub(r"mongodb(\+srv)?://\S+", r"mongodb\1://***", text)
    text = re.sub(r"://\S*@", "://***@", text)
    secret = r"[\w.-]*(?:passw|pwd|secret|token|credential|authoriz|_auth|(?:api|access|private).?key)[\w.-]*"
    return re.sub(rf"(?i)({secret}['\"]?\s*[=:]\s*).+", r"\1***", text)
