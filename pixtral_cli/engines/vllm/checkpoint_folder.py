"""A checkpoint as vLLM expects it: a folder of links, whose params.json states the context window. The original is unchanged."""

import hashlib
import json
import os
from pathlib import Path

from pixtral_cli.errors import ModelError, PixtralError
from pixtral_cli.models.layout import PARAMS_FILE
from pixtral_cli.util import atomic

WINDOW_KEY = "max_position_embeddings"


def prepare_checkpoint(folder: Path, window: int, cache: Path) -> Path:
    """The folder that vLLM is to load: the checkpoint itself if its params.json states the context window, else one that does.

    Without it vLLM looks for the window on the hub, ten times, which takes twenty seconds.
    """
    try:
        params = json.loads((folder / PARAMS_FILE).read_bytes())
        if params.get(WINDOW_KEY):
            return folder
        real = folder.resolve()
        ours = cache / "vllm" / hashlib.sha256(os.fsencode(real)).hexdigest()[:16]
        ours.mkdir(parents=True, exist_ok=True)
        for file in real.iterdir():
            if file.name != PARAMS_FILE:
                _link(ours / file.name, file)
        for left in ours.iterdir():
            if not left.exists():
                left.unlink()
        atomic.write(ours / PARAMS_FILE, json.dumps({**params, WINDOW_KEY: window}, indent=1))
    except OSError as error:
        raise PixtralError(f"The model cannot be prepared for vLLM: {error.strerror}", f"See {cache}") from error
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{folder / PARAMS_FILE} is not a JSON object", "Copy or download that file again") from error
    return ours


def _link(link: Path, file: Path) -> None:
    if link.is_symlink() and link.readlink() == file:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(file)
