"""Parses names of models and finds their folders. Reads folders and small files only; makes no network requests."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pixtral_cli.errors import ModelError, UsageError
from pixtral_cli.models import layout
from pixtral_cli.models.catalogue import CATALOGUE, Entry, Shape, recommended
from pixtral_cli.util.memory import EASY_SHARE, Memory, installed
from pixtral_cli.util.sizes import format_bytes

DEMO = "demo"
PIXTRAL_12B = "pixtral-12b"
REPOS = {entry.name: entry.repo for entry in CATALOGUE}
REPO = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
WORD = re.compile(r"\w[\w.:-]*", re.ASCII)
REVISION = re.compile(r"\w[\w./-]*", re.ASCII)
# Folders below ~/mistral_models, where the vendor's instructions put models.
VENDOR_FOLDERS = {"mistralai/Pixtral-12B-2409": ("Pixtral", "Pixtral-12B-2409")}
COMMIT = re.compile(r"[0-9a-f]{7,40}")
FORMAT_HINT = "A model is params.json, tekken.json and consolidated.safetensors, or config.json, tokenizer.json and model.safetensors"
LIST_HINT = "All of them: pixtral models"
NO_ALIASES: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Model:
    """A model on this machine. `note`: a line for stderr where pixtral chose the model, else ""."""

    name: str
    folder: Path
    repo: str | None = None
    revision: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed name of a model, which need not exist: a folder, or a repository and possibly a revision."""

    name: str
    folder: Path | None = None
    repo: str | None = None
    revision: str | None = None


def resolve(
    name: str | None,
    *,
    configured: str | None = None,
    aliases: Mapping[str, str] = NO_ALIASES,
    unknown: Collection[str] = (),
    memory: Memory | None = None,
) -> Model:
    """The model of that name, else the configured one, else the best downloaded one that fits, else the demo.

    `unknown`: keys of params.json that the engine does not support; `memory`: that of this machine.
    Raises ModelError when a named model is not on this machine, incomplete or in no known format.
    """
    if chosen := name or configured:
        return find(parse(chosen, aliases))
    memory = memory or installed()
    downloaded = [(entry, folder) for entry in CATALOGUE if (folder := _downloaded(entry.repo, None))]
    for entry, folder in downloaded:
        if _can_run(folder, memory.model_limit(), unknown):
            note = f"Using {entry.name}, the best downloaded model that fits"
            return Model(entry.name, folder, entry.repo, revision_of(folder), note)
    return Model(DEMO, demo_folder(), note=_demo_note([entry for entry, _ in downloaded], memory, unknown))


def parse(name: str, aliases: Mapping[str, str] = NO_ALIASES) -> Reference:
    """Parse a name: `demo`, a short name, a folder, or a repository `org/name`, the last three with `@revision`.

    `aliases`: the user's own names for such names. Raises ModelError for a name of no such form.
    """
    if name in aliases:
        try:
            return parse(aliases[name])
        except ModelError as error:
            raise ModelError(f"{error.message}, which {name!r} is an alias of", error.hint) from error
    if name == DEMO:
        return Reference(DEMO, folder=demo_folder())
    base, _, revision = name.partition("@")
    repo = REPOS.get(base.lower(), base)
    path = _expanded(name)
    if repo == base and (name.startswith(("/", "./", "../", "~")) or (name and path.is_dir())):
        folder = Path(os.path.normpath(path.absolute()))
        return Reference(_portable_name(folder), folder=folder)
    if REPO.fullmatch(repo) and ".." not in name and (REVISION.fullmatch(revision) or "@" not in name):
        return Reference(name, repo=repo, revision=revision or None)
    nearest = similar(name, aliases)
    hint = f"Did you mean {nearest[0]}?" if nearest else f"Known: {DEMO}, {PIXTRAL_12B}, org/name, a folder."
    raise ModelError(f"There is no model named {name!r}", f"{hint} {LIST_HINT}")


def check_alias(alias: str) -> None:
    """Raises UsageError for an alias that would hide a model of that name."""
    if alias == DEMO or alias.lower() in REPOS:
        raise UsageError(f"{alias} is the name of a model already", "Choose another name for the alias")


def is_public(name: str) -> bool:
    """Whether a name is that of a model (a short name, a server's name, a repository) rather than the path of a folder."""
    base, _, revision = name.partition("@")
    valid_revision = REVISION.fullmatch(revision) or "@" not in name
    named = (REPO.fullmatch(base) or WORD.fullmatch(base)) and ".." not in name and not base.startswith(".")
    return bool(valid_revision and (name == DEMO or base.lower() in REPOS or (named and not _expanded(name).is_dir())))


def similar(name: str, aliases: Mapping[str, str] = NO_ALIASES) -> list[str]:
    """Up to three names and repositories that are spelt similarly, the most similar first."""
    from difflib import get_close_matches

    known = {other.lower(): other for other in (DEMO, *REPOS, *REPOS.values(), *aliases)}
    return [known[close] for close in get_close_matches(name.lower(), known, 3, 0.6)]


def find(reference: Reference) -> Model:
    """The model of a reference. Raises ModelError when it is not on this machine or incomplete."""
    if reference.repo is None:
        assert reference.folder is not None
        return _model_in_folder(reference.name, reference.folder)
    folder = _downloaded(reference.repo, reference.revision)
    if folder is None:
        state = "only partly downloaded" if _partly_downloaded(reference.repo) else "not on this machine"
        raise ModelError(f"{reference.name} is {state}", f"Get it: pixtral pull {reference.name}")
    return Model(reference.name, folder, reference.repo, revision_of(folder))


def hub_cache(env: Mapping[str, str] = os.environ) -> Path:
    """The cache folder of huggingface_hub, by the same environment variables, without importing it."""
    return _env_path(env, "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") or _hub_home(env) / "hub"


def token_file(env: Mapping[str, str] = os.environ) -> Path:
    """The file in which `hf auth login` stores its token."""
    return _env_path(env, "HF_TOKEN_PATH") or _hub_home(env) / "token"


def repo_folder(repo: str) -> str:
    """The name of a repository's folder in the hub's cache."""
    return "models--" + repo.replace("/", "--")


def demo_folder() -> Path:
    """The folder of the demo checkpoint, which is part of the package."""
    return Path(__file__).parent / "demo"


def vendor_home() -> Path:
    """The folder into which Mistral's own instructions put models."""
    return _expanded("~/mistral_models")


def repo_of(folder: Path) -> str | None:
    """The repository that a snapshot folder in the hub's cache belongs to; None for any other folder."""
    if folder.parent.name == "snapshots" and (name := folder.parent.parent.name).startswith("models--"):
        return name.removeprefix("models--").replace("--", "/", 1)
    return None


def revision_of(folder: Path) -> str | None:
    """The commit of a snapshot folder in the hub's cache; None for any other folder."""
    return folder.name if repo_of(folder) else None


def short_name(repo: str) -> str:
    """The short name of a repository; the repository itself if it has none."""
    return next((name for name, known in REPOS.items() if known == repo), repo)


def snapshot_name(folder: Path, digits: int = 40) -> str:
    """The name of a snapshot in the hub's cache: the repository's for `main` or an only snapshot, else with `@commit`."""
    home = folder.parent.parent
    main = read_ref(home, "main")
    name = short_name(repo_of(folder) or "")
    is_main = main == folder.name or (main is None and len(list(folder.parent.iterdir())) == 1)
    return name if is_main else f"{name}@{folder.name[:digits]}"


def snapshots(home: Path, revision: str | None) -> list[Path]:
    """The snapshots in a repository's folder that match a revision, the best first. None: `main`, then the newest."""
    folder = home / "snapshots"
    commit = read_ref(home, revision or "main")
    referenced = [folder / commit] if commit else []
    if revision is None:
        return referenced + sorted(folder.glob("*"), key=lambda snapshot: snapshot.stat().st_mtime, reverse=True)
    return referenced + (list(folder.glob(f"{revision}*")) if COMMIT.fullmatch(revision) else [])


def read_ref(home: Path, revision: str) -> str | None:
    """The commit that a branch or tag pointed to when it was last downloaded; None if it was not."""
    try:
        return (home / "refs" / revision).read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def repair_hint(folder: Path) -> str:
    """How to repair a damaged or missing file of the model in a folder."""
    if repo_of(folder):
        return f"Fetch it again: pixtral pull {snapshot_name(folder)}"
    if folder == demo_folder():
        return "Install again: pip install --force-reinstall --no-deps pixtral"
    known = next((repo for repo, folders in VENDOR_FOLDERS.items() if folder.name in folders), None)
    if known and folder.parent == vendor_home():
        return f"Get an intact copy: pixtral pull {short_name(known)}"
    return "Copy or download that file again"


def _can_run(folder: Path, budget: int, unknown: Collection[str]) -> bool:
    """Whether a checkpoint fits into `budget` bytes in some format and sets none of the `unknown` keys."""
    params = layout.params(folder)
    shape = Shape.of(params)
    return not any(params.get(key) for key in unknown) and (shape is None or bool(shape.widest_format(budget)))


def _demo_note(unfit: Sequence[Entry], memory: Memory, unknown: Collection[str]) -> str:
    """A line on why the demo runs and which model to download. `unfit`: downloaded models that cannot run."""
    partial = next((entry.name for entry in CATALOGUE if _partly_downloaded(entry.repo)), "")
    if partial:
        return (
            f"Using the small built-in model; {partial} is only partly downloaded, go on with: pixtral pull {partial}"
        )
    why = f": {unfit[0].name} cannot run on this machine" if unfit else ""
    best = recommended(memory.model_limit(EASY_SHARE), unknown)
    if best is None or best in unfit:
        return f"Using the small built-in model{why or '; no larger one fits this machine'}"
    get = f"pixtral pull {best.name} ({format_bytes(best.download)})"
    return f"Using the small built-in model{why}; the best that fits this machine: {get}"


def _model_in_folder(name: str, folder: Path) -> Model:
    """The model in a folder. Raises ModelError when the folder holds none or an incomplete one."""
    present = layout.file_names(folder)
    if not present:
        raise ModelError(f"{folder}: there is no model in this folder", LIST_HINT)
    if missing := layout.missing(folder):
        raise ModelError(
            f"{folder / missing[0]} is missing",
            repair_hint(folder) if {layout.PARAMS_FILE, layout.CONFIG} & {*present} else FORMAT_HINT,
        )
    return Model(name, folder, repo_of(folder), revision_of(folder))


def _hub_home(env: Mapping[str, str]) -> Path:
    return _env_path(env, "HF_HOME") or (_env_path(env, "XDG_CACHE_HOME") or _expanded("~/.cache")) / "huggingface"


def _env_path(env: Mapping[str, str], *variables: str) -> Path | None:
    """The path in the first of these variables that is set; None if none is."""
    values = [env[name] for name in variables if env.get(name)]
    return _expanded(os.path.expandvars(values[0])) if values else None


def _portable_name(folder: Path) -> str:
    """A name of a folder's model that is valid in every working directory: the snapshot's name, or the absolute path."""
    return snapshot_name(folder) if repo_of(folder) and folder.is_dir() else str(folder)


def _expanded(path: str) -> Path:
    """A path with `~` expanded."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~name of an unknown user
        return Path(path)


def _partly_downloaded(repo: str) -> bool:
    """Whether the hub's cache holds an unfinished download of a repository."""
    return any((hub_cache() / repo_folder(repo) / "blobs").glob("*.incomplete"))


def _downloaded(repo: str, revision: str | None) -> Path | None:
    """The folder of a complete download of a repository, in the hub's cache or the vendor's folder; None without one."""
    candidates = snapshots(hub_cache() / repo_folder(repo), revision)
    vendor = [] if revision else [vendor_home() / name for name in VENDOR_FOLDERS.get(repo, ())]
    return next((folder for folder in (*candidates, *vendor) if not layout.missing(folder)), None)
