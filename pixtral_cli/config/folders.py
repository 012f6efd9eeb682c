"""The folders of the user and the path of the config file, from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Paths:
    """The user's config file and folders. With PIXTRAL_HOME set, all of them are under that one folder."""

    config_file: Path
    data: Path
    cache: Path
    state: Path


def paths(env: Mapping[str, str] = os.environ) -> Paths:
    """The config file and the folders of this user; none is created."""
    if home := env.get("PIXTRAL_HOME"):
        root = Path(home).expanduser().absolute()
        return Paths(root / "config.toml", root / "data", root / "cache", root / "state")
    from platformdirs import PlatformDirs

    dirs = PlatformDirs("pixtral", appauthor=False)
    return Paths(
        Path(dirs.user_config_dir) / "config.toml",
        Path(dirs.user_data_dir),
        Path(dirs.user_cache_dir),
        Path(dirs.user_state_dir),
    )


def config_file(env: Mapping[str, str] = os.environ) -> Path:
    """The path of the config file, which need not exist."""
    return Path(env["PIXTRAL_CONFIG"]).expanduser() if env.get("PIXTRAL_CONFIG") else paths(env).config_file
