"""API keys, from the environment or a file that only its owner can read. A key belongs to one scheme, host and port."""

import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.util import atomic
from pixtral_cli.util.addresses import is_this_machine
from pixtral_cli.util.sanitize import visible

MISTRAL = "api.mistral.ai"
MCP_KEY = "PIXTRAL_MCP_KEY"


def find(url: str, file: Path, env: Mapping[str, str] = os.environ) -> str | None:
    """The key for a server: MISTRAL_API_KEY for La Plateforme, PIXTRAL_API_KEY for others, else the stored one or None.

    Raises UsageError when others can read the file, it is not a file of keys, or the key would be sent unencrypted.
    """
    mistral = urlsplit(url).hostname == MISTRAL
    variable = "MISTRAL_API_KEY" if mistral else "PIXTRAL_API_KEY"
    key = env.get(variable, "").strip()
    if key and mistral and urlsplit(url).scheme != "https":
        raise UsageError(f"{variable} is not sent unencrypted", f"Use https://{MISTRAL}/v1")
    return checked(key, variable) if key else _stored(file).get(origin(url))


def find_for_mcp(urls: Sequence[str], file: Path, env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The keys for MCP servers, by their URLs: PIXTRAL_MCP_KEY where one server is named, else the stored ones.

    A URL that holds a password of its own has none. Raises UsageError when a key would go to another machine unencrypted,
    when PIXTRAL_MCP_KEY could be meant for either of two servers, and as `find` does.
    """
    open_urls = [url for url in urls if not urlsplit(url).username]
    if not open_urls:
        return {}
    given = env.get(MCP_KEY, "").strip()
    if given and len({origin(url) for url in open_urls}) > 1:
        raise UsageError(
            f"{MCP_KEY} is for one server, and several are named", "Store their keys: pixtral login --mcp URL"
        )
    stored = _stored(file)
    keys = {url: checked(given, MCP_KEY) if given else stored.get(origin(url), "") for url in open_urls}
    for url in (url for url, key in keys.items() if key):
        check_encrypted(url, MCP_KEY if given else "The key")
    return {url: key for url, key in keys.items() if key}


def check_encrypted(url: str, what: str) -> None:
    """Raises UsageError where a key would go to another machine unencrypted."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_this_machine(parts.hostname or ""):
        raise UsageError(f"{what} is not sent unencrypted to {visible(parts.hostname or '', 60)}", "Use https://")


def origin(url: str) -> str:
    """Scheme, host and port of a URL, such as `https://api.mistral.ai:443`."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def checked(key: str, where: str) -> str:
    """The key itself, if it is valid in a header. `where`: its origin, for the error.

    Raises UsageError, without the key.
    """
    if not key:
        raise UsageError(f"{where} is empty", "Copy the key again")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(f"{where} holds something that cannot be an API key", "Copy the key again")
    return key


def save(url: str, key: str | None, file: Path) -> None:
    """Store the key of a server, or remove it for None, in a file of mode 0600, atomically.

    Raises UsageError, PixtralError.
    """
    keys = {name: stored for name, stored in _stored(file).items() if name != origin(url)}
    if key is not None:
        keys[origin(url)] = checked(key.strip(), "What was entered")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(file, json.dumps(keys, indent=1), mode=0o600)
    except OSError as error:
        raise PixtralError(f"{file}: the key cannot be stored: {error.strerror}", "Or set MISTRAL_API_KEY") from error


def _stored(file: Path) -> dict[str, str]:
    """The stored keys by origin. Raises UsageError for a file that others can read or that is not a file of keys."""
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
    # Earlier versions stored only the host: such a key is for https on port 443.
    named = {name if "://" in name else origin(f"https://{name}"): key for name, key in keys.items()}
    return {name: key for name, key in named.items() if isinstance(key, str)}
