"""Prepares a checkpoint for vLLM: a folder of links whose params.json states the context window.

The original is unchanged.
"""

import hashlib
import json
import os
from pathlib import Path

from pixtral_cli.errors import ModelError, PixtralError
from pixtral_cli.models.layout import PARAMS_FILE
from pixtral_cli.util import atomic

WINDOW_KEY = "max_position_embeddings"


def prepare_checkpoint(folder: Path, window: int, cache: Path) -> Path:
    """The folder for vLLM: the checkpoint itself if its params.json states the context window, else a prepared one.

    `window`: tokens. Without it vLLM searches the hub for the window, which takes twenty seconds. Raises PixtralError.
    """
    try:
        params = json.loads((folder / PARAMS_FILE).read_bytes())
        if params.get(WINDOW_KEY):
            return folder
        source = folder.resolve()
        prepared = cache / "vllm" / hashlib.sha256(os.fsencode(source)).hexdigest()[:16]
        prepared.mkdir(parents=True, exist_ok=True)
        for file in source.iterdir():
            if file.name != PARAMS_FILE:
                _link(prepared / file.name, file)
        for link in prepared.iterdir():
            if not link.exists():
                link.unlink()
        atomic.write(prepared / PARAMS_FILE, json.dumps({**params, WINDOW_KEY: window}, indent=1))
    except OSError as error:
        raise PixtralError(f"The model cannot be prepared for vLLM: {error.strerror}", f"See {cache}") from error
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{folder / PARAMS_FILE} is not a JSON object", "Copy or download that file again") from error
    return prepared


def _link(link: Path, file: Path) -> None:
    """Make `link` a symbolic link to `file`."""
    if link.is_symlink() and link.readlink() == file:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(file)
