"""Repositories in transformers' format through the front door: pulled, listed, checked, removed, and right in what they say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from pixtral_cli.models import names
from tests.hub import FakeHub, model_files, pixtral
from tests.models.transformers_demo import SHARDS, transformers_demo, write

REPO = "mistral-community/pixtral-12b"
OTHERS = {
    "org/llama": ({"model_type": "llama"}, "a model of type 'llama'"),
    "org/llava": ({"model_type": "llava", "text_config": {"model_type": "llama"}}, "a model of type 'llama'"),
    "org/awq": ({"quantization_config": {"quant_method": "awq"}}, "quantization by 'awq'"),
    "org/zeros": ({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {
        "group_0": {"weights": {"num_bits": 4, "type": "int", "symmetric": False}}}}}, "zero points"),
    "org/g32": ({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {
        "group_0": {"weights": {"num_bits": 4, "type": "int", "group_size": 32}}}}}, "groups of 32 for 4 bits"),
    "org/w3": ({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {
        "group_0": {"weights": {"num_bits": 3, "type": "int", "group_size": 64}}}}}, "3-bit weights"),
    "org/order": ({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {
        "group_0": {"weights": {"num_bits": 4, "type": "int", "actorder": "group"}}}}}, "'actorder' 'group'"),
}  # fmt: skip


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return transformers_demo()


@pytest.fixture
def circle(tmp_path: Path) -> Path:
    picture = Image.new("RGB", (320, 240), "white")
    ImageDraw.Draw(picture).ellipse((100, 60, 220, 180), fill="red")
    picture.save(tmp_path / "circle.png")
    return tmp_path / "circle.png"


@pytest.fixture
def fake(files: dict[str, bytes]) -> Iterator[FakeHub]:
    config = json.loads(files["config.json"])
    others = {
        name: {"main": files | {"config.json": json.dumps(config | change).encode()}}
        for name, (change, _) in OTHERS.items()
    }
    moe = json.loads((names.demo_folder() / "params.json").read_text()) | {"moe": {"num_experts": 8}}
    mistral = model_files(names.demo_folder()) | {"params.json": json.dumps(moe).encode()}
    with FakeHub({REPO: {"main": files}, "org/moe": {"main": mistral}, **others}) as fake:
        yield fake


def ask(fake: FakeHub, model: str, circle: Path, *more: str) -> str:
    done = pixtral(fake, "ask", "What is in the image?", "--image", str(circle), "-m", model, "-n", *more)
    assert done.returncode == 0, done.stderr
    return done.stdout.lower()


def test_it_is_pulled_listed_checked_asked_and_removed(fake: FakeHub, files: dict[str, bytes], circle: Path) -> None:
    done = pixtral(fake, "pull", REPO)
    assert done.returncode == 0, done.stderr
    assert "every hash is right" in done.stderr
    needed = {"config.json", "tokenizer.json", "model.safetensors.index.json", *SHARDS}
    assert {one.file for one in fake.gets()} == needed
    (listed,) = [
        one for one in json.loads(pixtral(fake, "models", "--format", "json").stdout)["models"] if one["name"] == REPO
    ]
    assert (listed["state"], listed["size"]) == ("complete", sum(len(files[name]) for name in needed))
    verified = pixtral(fake, "models", "verify", REPO)
    assert (verified.returncode, verified.stdout.count("is as recorded")) == (0, len(needed))
    assert "red circle" in ask(fake, REPO, circle)
    assert f"{REPO}: " in pixtral(fake, "doctor").stdout
    pixtral(fake, "models", "rm", REPO, "--yes")
    assert not any(path.is_file() for path in names.hub_cache().rglob("*") if path.suffix != ".lock")


@pytest.mark.parametrize(("parts", "tekken"), [(1, False), (2, True)])
def test_a_folder_of_it_answers_as_the_same_model_does(
    fake: FakeHub, tmp_path: Path, circle: Path, parts: int, tekken: bool
) -> None:
    folder = write(transformers_demo(parts=parts, tekken=tekken), tmp_path / "model")
    assert ask(fake, str(folder), circle) == ask(fake, "demo", circle)
    assert ask(fake, str(folder), circle, "--quantize", "8bit").strip()


def test_what_is_missing_or_damaged_is_named(fake: FakeHub, files: dict[str, bytes], tmp_path: Path) -> None:
    folder = write(files, tmp_path / "model")
    (folder / SHARDS[1]).write_bytes(files[SHARDS[1]][:-9])
    assert f"{SHARDS[1]} is cut short" in pixtral(fake, "models", "verify", str(folder)).stderr
    (folder / SHARDS[1]).unlink()
    done = pixtral(fake, "ask", "?", "-m", str(folder))
    assert (done.returncode, f"{SHARDS[1]} is missing" in done.stderr) == (4, True)


@pytest.mark.parametrize(
    ("repo", "says"), [(name, says) for name, (_, says) in OTHERS.items()] + [("org/moe", "'moe'")]
)
def test_what_cannot_run_is_refused_by_name_before_its_weights_are_fetched(fake: FakeHub, repo: str, says: str) -> None:
    done = pixtral(fake, "pull", repo)
    assert done.returncode == 4
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert {one.file for one in fake.gets()} <= {"config.json", "params.json"}
    assert not any(names.hub_cache().rglob("*.json"))


def test_both_formats_in_one_repository_are_mistrals(files: dict[str, bytes]) -> None:
    both = files | model_files(names.demo_folder())
    with FakeHub({"org/both": {"main": both}}) as fake:
        assert pixtral(fake, "pull", "org/both").returncode == 0
        assert {one.file for one in fake.gets()} == {"params.json", "tekken.json", "consolidated.safetensors"}


def test_what_somebody_elses_program_left_of_another_model_is_not_listed(fake: FakeHub, tmp_path: Path) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download("org/llama", cache_dir=names.hub_cache(), endpoint=fake.url)
    listed: list[Any] = json.loads(pixtral(fake, "models", "--format", "json").stdout)["models"]
    assert [one["name"] for one in listed] == ["demo"]
