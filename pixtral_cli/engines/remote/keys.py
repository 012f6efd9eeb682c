"""API keys: from the environment, else from a file that its owner alone can read. A key belongs to one host and goes to no other."""

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.util import atomic

MISTRAL = "api.mistral.ai"


def find(host: str, file: Path, env: Mapping[str, str] = os.environ) -> str | None:
    """The key for a host: MISTRAL_API_KEY for La Plateforme, PIXTRAL_API_KEY for any other, else the stored one.

    Raises UsageError when others can read the file, or it is none of ours.
    """
    variable = "MISTRAL_API_KEY" if host == MISTRAL else "PIXTRAL_API_KEY"
    if key := env.get(variable, "").strip():
        return checked(key, variable)
    return _stored(file).get(host)


def checked(key: str, where: str) -> str:
    """The key, if it can stand in a header. Raises UsageError, which does not repeat it."""
    if not key:
        raise UsageError(f"{where} is empty", "Copy the key again")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(f"{where} holds something that cannot be an API key", "Copy the key again")
    return key


def save(host: str, key: str | None, file: Path) -> None:
    """Store a host's key, or with None forget it, in a file of mode 0600 that is never half written."""
    keys = {name: old for name, old in _stored(file).items() if name != host}
    if key is not None:
        keys[host] = checked(key.strip(), "What was entered")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(file, json.dumps(keys, indent=1), mode=0o600)
    except OSError as error:
        raise PixtralError(f"{file}: the key cannot be stored: {error.strerror}", "Or set MISTRAL_API_KEY") from error


def _stored(file: Path) -> dict[str, str]:
    try:
        if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise UsageError(f"{file} can be read by others", f"Close it: chmod 600 {file}")
        keys = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{file} cannot be read as a file of keys", "Delete it and log in again: pixtral login"
        ) from error
    if not isinstance(keys, dict):
        raise UsageError(f"{file} cannot be read as a file of keys", "Delete it and log in again: pixtral login")
    return {host: key for host, key in keys.items() if isinstance(key, str)}
