"""Which model runs: names, folders, repositories, and what is said when the wished-for one is not here."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pixtral_cli.errors import ModelError
from pixtral_cli.models import layout, names
from pixtral_cli.models.catalogue import BY_NAME, Entry
from pixtral_cli.util.memory import Memory

REPO = "mistralai/Pixtral-12B-2409"
GIB = 1 << 30
LAPTOP = Memory(16 * GIB)
BEST = "Using pixtral-12b, the best downloaded model that fits"
WHOLE = ("params.json", "tekken.json", layout.WEIGHTS_FILE)


def place(folder: Path, *files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in files:
        (folder / name).write_text("{}")
    return folder


def cached(repo: str, commit: str, *files: str, ref: str = "") -> Path:
    home = names.hub_cache() / names.repo_folder(repo)
    if ref:
        place(home / "refs")
        (home / "refs" / ref).write_text(commit)
    return place(home / "snapshots" / commit, *files)


def sized(entry: Entry) -> Path:
    """A download of that model, in everything but its weights."""
    folder = cached(entry.repo, "a" * 40, *WHOLE, ref="main")
    shape, vision = entry.shape, entry.shape.vision
    assert vision
    params = {
        "dim": shape.dim, "n_layers": shape.layers, "hidden_dim": shape.hidden, "n_heads": shape.heads,
        "n_kv_heads": shape.kv_heads, "head_dim": shape.head_dim, "vocab_size": shape.vocabulary, "tied_embeddings": shape.tied,
        "vision_encoder": {
            "hidden_size": vision.hidden, "intermediate_size": vision.intermediate, "num_hidden_layers": vision.layers,
            "patch_size": vision.patch, "spatial_merge_size": vision.merge,
        },
    }  # fmt: skip
    (folder / layout.PARAMS_FILE).write_text(json.dumps(params))
    return folder


def test_without_a_name_and_without_a_download_the_demo_runs_and_says_so() -> None:
    model = names.resolve(None, memory=LAPTOP)
    assert (model.name, model.folder) == ("demo", names.demo_folder())
    assert model.note == (
        "Using the small built-in model; the best that fits this machine: pixtral pull ministral-8b (9.7 GiB)"
    )
    assert not layout.missing(model.folder)


def test_where_no_model_fits_none_is_recommended() -> None:
    note = "Using the small built-in model; no larger one fits this machine"
    assert names.resolve(None, memory=Memory(2 * GIB)).note == note


def test_what_the_engine_cannot_compute_is_not_recommended() -> None:
    assert "pixtral pull pixtral-12b" in names.resolve(None, memory=Memory(20 * GIB), unknown=["yarn"]).note


def test_the_best_downloaded_model_that_fits_runs_and_is_named() -> None:
    for name in ("ministral-3b", "ministral-8b", "mistral-small-3.2"):
        sized(BY_NAME[name])
    found = {gib: names.resolve(None, memory=Memory(gib * GIB)) for gib in (4, 8, 16, 64)}
    assert {gib: model.name for gib, model in found.items()} == {
        4: "demo", 8: "ministral-3b", 16: "ministral-8b", 64: "mistral-small-3.2",
    }  # fmt: skip
    assert found[16].note == "Using ministral-8b, the best downloaded model that fits"
    assert found[4].note == "Using the small built-in model: mistral-small-3.2 cannot run on this machine"


def test_a_downloaded_model_that_the_engine_cannot_compute_does_not_run_by_default() -> None:
    folder = sized(BY_NAME["ministral-8b"])
    params = json.loads((folder / "params.json").read_text())
    (folder / "params.json").write_text(json.dumps({**params, "yarn": {"factor": 16}, "moe": None}))
    assert names.resolve(None, memory=LAPTOP, unknown=["yarn", "moe"]).name == "demo"
    assert names.resolve(None, memory=LAPTOP, unknown=["moe"]).name == "ministral-8b"


def test_an_alias_is_a_name_of_ones_own() -> None:
    folder = cached(REPO, "a" * 40, *WHOLE, ref="main")
    assert names.resolve("eyes", aliases={"eyes": "pixtral-12b"}).folder == folder
    with pytest.raises(ModelError, match="'eye'") as caught:
        names.parse("eye", {"eyes": "pixtral-12b"})
    assert caught.value.hint.startswith("Did you mean eyes?")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("pixtral12b", "pixtral-12b"), ("ministral-3:8b", "ministral-8b"), ("Mistral-Small-32", "mistral-small-3.2"), ("dmeo", "demo")],
)  # fmt: skip
def test_a_near_name_is_offered(typed: str, meant: str) -> None:
    with pytest.raises(ModelError) as caught:
        names.parse(typed)
    assert caught.value.hint.startswith(f"Did you mean {meant}?")


def test_the_demo_by_name_needs_no_note() -> None:
    assert names.resolve("demo").note == ""


def test_without_a_name_the_downloaded_model_runs() -> None:
    folder = cached(REPO, "a" * 40, *WHOLE, ref="main")
    assert names.resolve(None) == names.Model("pixtral-12b", folder, REPO, "a" * 40, BEST)


def test_without_a_name_the_vendors_folder_serves_too(home: Path) -> None:
    folder = place(home / "mistral_models" / "Pixtral", *WHOLE)
    assert names.resolve(None) == names.Model("pixtral-12b", folder, REPO, note=BEST)


def test_half_a_download_does_not_run_and_the_note_says_go_on() -> None:
    cached(REPO, "a" * 40, "params.json", "tekken.json", ref="main")
    place(names.hub_cache() / names.repo_folder(REPO) / "blobs", "abc.incomplete")
    model = names.resolve(None)
    assert model.name == "demo"
    assert "only partly downloaded" in model.note
    with pytest.raises(ModelError, match="only partly downloaded") as caught:
        names.resolve("pixtral-12b")
    assert caught.value.hint == "Get it: pixtral pull pixtral-12b"


def test_a_link_to_nothing_is_no_file() -> None:
    folder = cached(REPO, "a" * 40, "params.json", "tekken.json", ref="main")
    (folder / layout.WEIGHTS_FILE).symlink_to("../../blobs/gone")
    assert names.resolve(None).name == "demo"


def test_the_name_wins_over_the_configured_one_and_that_over_the_download(tmp_path: Path) -> None:
    cached(REPO, "a" * 40, *WHOLE, ref="main")
    mine = place(tmp_path / "mine", *WHOLE)
    assert names.resolve(None, configured=str(mine)).folder == mine
    assert names.resolve("demo", configured=str(mine)).name == "demo"
    assert names.resolve(None).name == "pixtral-12b"


@pytest.mark.parametrize("name", ["pixtral-12b", "Pixtral-12B", REPO])
def test_short_names_are_their_repositories(name: str) -> None:
    folder = cached(REPO, "a" * 40, *WHOLE, ref="main")
    assert names.resolve(name).folder == folder


def test_a_short_name_wins_over_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(tmp_path / "pixtral-12b", *WHOLE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="not on this machine"):
        names.resolve("pixtral-12b")
    assert names.resolve("./pixtral-12b").folder == tmp_path / "pixtral-12b"


def test_folders_are_found_however_they_are_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = place(home / "somewhere" / "mine", *WHOLE)
    monkeypatch.chdir(folder.parent)
    for name in (str(folder), "~/somewhere/mine", "./mine", "mine", "../somewhere/mine/", "mine/."):
        model = names.resolve(name)
        assert model == names.Model(str(folder), folder), name
        assert names.resolve(model.name) == model


def test_a_snapshot_folder_is_known_by_a_name_that_finds_it_again() -> None:
    folder = cached("org/other", "b" * 40, *WHOLE)
    assert names.resolve(str(folder)) == names.Model("org/other", folder, "org/other", "b" * 40)
    main = cached("org/other", "c" * 40, *WHOLE, ref="main")
    for snapshot, name in ((folder, f"org/other@{'b' * 40}"), (main, "org/other")):
        assert names.resolve(str(snapshot)).name == name
        assert names.resolve(name).folder == snapshot
        assert names.repair_hint(snapshot) == f"Fetch it again: pixtral pull {name}"


@pytest.mark.parametrize(
    ("there", "lost"),
    [
        (("params.json", "tekken.json"), "consolidated.safetensors"),
        (("params.json", layout.WEIGHTS_FILE), "tekken.json"),
        (("config.json", "model.safetensors"), "tokenizer.json"),
        (("config.json", "tekken.json", "model-00001-of-00002.safetensors"), "model-00002-of-00002.safetensors"),
        (("tekken.json", "model.safetensors"), "params.json"),
        (
            ("params.json", "tekken.json", "consolidated-00001-of-00002.safetensors"),
            "consolidated-00002-of-00002.safetensors",
        ),
    ],
)
def test_a_folder_that_is_no_whole_model_is_refused_by_the_missing_file(
    tmp_path: Path, there: tuple[str, ...], lost: str
) -> None:
    with pytest.raises(ModelError, match=f"{lost} is missing"):
        names.resolve(str(place(tmp_path / "m", *there)))


@pytest.mark.parametrize(
    "weights",
    [
        ("consolidated.00.pth",),
        ("consolidated-00001-of-00002.safetensors", "consolidated-00002-of-00002.safetensors", layout.INDEX),
    ],
)
def test_every_form_of_weights_makes_a_model(tmp_path: Path, weights: tuple[str, ...]) -> None:
    folder = place(tmp_path / "m", "params.json", "tekken.json", *weights)
    assert names.resolve(str(folder)).folder == folder


@pytest.mark.parametrize("name", ["nonsense", "a/b/c", "a/b@", "a/b@../../x", "org/..", "a b/c", "@main", ""])
def test_what_cannot_be_a_name_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        names.parse(name)
    assert "pixtral-12b" in caught.value.hint


def test_a_strangers_home_is_a_folder_that_is_not_there() -> None:
    with pytest.raises(ModelError, match="no model in this folder"):
        names.resolve("~nobody-of-this-name/model")


def test_main_wins_over_newer_snapshots() -> None:
    main = cached(REPO, "a" * 40, *WHOLE, ref="main")
    cached(REPO, "b" * 40, *WHOLE)
    assert names.resolve(REPO).folder == main


@pytest.mark.parametrize(
    ("env", "place"),
    [
        ({}, "~/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"HF_HOME": "/h"}, "/h/hub"),
        ({"HF_HOME": "/h", "HUGGINGFACE_HUB_CACHE": "/old"}, "/old"),
        ({"HF_HOME": "/h", "HF_HUB_CACHE": "~/c"}, "~/c"),
        ({"HF_HOME": "$HOME/h"}, "~/h/hub"),
    ],
)
def test_the_cache_is_where_the_hubs_client_has_it(env: dict[str, str], place: str, home: Path) -> None:
    expected = Path(place).expanduser()
    assert names.hub_cache(env) == expected
    code = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    asked = subprocess.run([sys.executable, "-c", code], env={"HOME": str(home), **env}, capture_output=True, text=True)
    assert Path(asked.stdout.strip()) == expected


def test_which_model_runs_is_known_at_once_without_any_library() -> None:
    code = (
        "import sys, time\nfrom pixtral_cli.models import names\n"
        "begin = time.process_time()\nnames.resolve(None)\n"
        "print(time.process_time() - begin, *sys.modules)"
    )
    seconds, *modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert float(seconds) < 0.05  # measured: 0.001
    assert not {"huggingface_hub", "httpx2", "torch", "json"} & set(modules)
    begin = time.process_time()
    for _ in range(20):
        names.resolve(None)
    assert (time.process_time() - begin) / 20 < 0.05
