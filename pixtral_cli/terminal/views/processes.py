"""The output of `pixtral ps` and `pixtral stop`."""

import contextlib
from pathlib import Path
from typing import Any

from pixtral_cli import config
from pixtral_cli.engines import resident
from pixtral_cli.errors import ModelError, PixtralError
from pixtral_cli.models import names
from pixtral_cli.terminal.output.notes import format_table
from pixtral_cli.terminal.output.output import choose_output, dumps
from pixtral_cli.util.memory import process_memory
from pixtral_cli.util.sanitize import visible
from pixtral_cli.util.sizes import format_bytes

NO_PROCESS = "No process keeps a model."


def list_processes(*, as_json: bool = False) -> None:
    """List the processes that keep a model: device, memory, state and when they end."""
    out = choose_output()
    workers = [status for _, status in _workers()]
    if as_json:
        return out.write(dumps({"processes": [_fields(status) for status in workers]}, out.stdout.encoding) + "\n")
    if not workers:
        return out.tell(NO_PROCESS)
    rows = [("NAME", "PROCESS", "DEVICE", "MEMORY", "STATE", "ENDS")]
    for status in workers:
        row = _fields(status)
        memory = format_bytes(row["memory"]) if row["memory"] else ""
        state = f"{row['running']} running" if row["running"] else f"idle for {row['idle']:.0f} s"
        ends = (
            "with serve"
            if row["owner"] == "serve"
            else "while idle"
            if row["expires_in"] is None
            else f"in {row['expires_in']:.0f} s"
        )
        rows.append((row["name"], str(row["process"]), row["device"], memory, state, ends))
    for line in format_table([[visible(cell) for cell in row] for row in rows], 10_000):
        out.write(f"{line}\n")
    return None


def stop_processes(model: str | None, *, as_json: bool = False) -> None:
    """End the processes that keep a model, or all. Raises ModelError when none keeps it."""
    out = choose_output()
    workers = [(socket, status) for socket, status in _workers() if model is None or _keeps(status, model)]
    if model and not workers:
        raise ModelError(f"No process keeps {model}", "See: pixtral ps")
    for socket, status in workers:
        resident.stop_worker(socket, status)
        if not as_json:
            out.tell(f"Stopped {visible(status['name'])}.")
    if as_json:
        out.write(dumps({"stopped": [status["name"] for _, status in workers]}, out.stdout.encoding) + "\n")
    elif not workers:
        out.tell(NO_PROCESS)


def _workers() -> list[tuple[Path, dict[str, Any]]]:
    if not resident.supports_workers():
        return []
    return list(resident.running_workers(resident.socket_folder(config.paths().state)))


def _keeps(status: dict[str, Any], model: str) -> bool:
    """Whether a process keeps the model of any name that `-m` takes."""
    if status["name"] == model:
        return True
    with contextlib.suppress(PixtralError):
        return Path(status["folder"]) == names.find(names.parse(model)).folder.resolve()
    return False


def _fields(status: dict[str, Any]) -> dict[str, Any]:
    left = max(0.0, status["keep_alive"] - status["idle"]) if status.get("keep_alive") else None
    return {
        "name": status["name"],
        "process": status["stop"],
        "device": status.get("runs_on") or status.get("device", ""),
        "memory": process_memory(status.get("pid") or 0),
        "running": status["inside"],
        "idle": status["idle"],
        "owner": "serve" if status["owner"] else "keep-alive",
        "expires_in": None if status["owner"] or status["inside"] else left,
    }
