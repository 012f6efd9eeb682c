"""API keys: each for one host, from the environment or a file nobody else can read."""

import os
from pathlib import Path

import pytest

from pixtral_cli.engines.remote import keys
from pixtral_cli.errors import PixtralError, UsageError

FAR = "api.mistral.ai"


def test_a_key_comes_from_the_environment_then_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "keys.json"
    assert keys.find(FAR, file, {}) is None
    keys.save(FAR, "stored", file)
    keys.save("other.example", "theirs", file)
    assert keys.find(FAR, file, {}) == "stored"
    assert keys.find(FAR, file, {"MISTRAL_API_KEY": "given"}) == "given"
    assert keys.find("other.example", file, {"MISTRAL_API_KEY": "given"}) == "theirs"
    assert keys.find("other.example", file, {"PIXTRAL_API_KEY": "mine"}) == "mine"
    assert keys.find("third.example", file, {"MISTRAL_API_KEY": "given"}) is None
    keys.save(FAR, None, file)
    assert keys.find(FAR, file, {}) is None


def test_the_file_is_its_owners_alone_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    old = os.umask(0)
    try:
        keys.save(FAR, "k", file)
    finally:
        os.umask(old)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]


def test_a_file_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    keys.save(FAR, "secret", file)
    file.chmod(0o644)
    with pytest.raises(UsageError, match="can be read by others") as caught:
        keys.find(FAR, file, {})
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize("content", ["", "{", "[]", "\udcff"])
def test_a_damaged_file_is_one_error(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys.json"
    file.touch(0o600)
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match="file of keys"):
        keys.find(FAR, file, {})


@pytest.mark.parametrize("key", ["a b", "a\nb", "ключ", "a\x1b[2J"])
def test_what_cannot_be_a_key_is_refused_and_not_repeated(tmp_path: Path, key: str) -> None:
    with pytest.raises(UsageError) as stored:
        keys.save(FAR, key, tmp_path / "keys.json")
    with pytest.raises(UsageError) as found:
        keys.find(FAR, tmp_path / "keys.json", {"MISTRAL_API_KEY": key})
    assert key not in str(stored.value) + str(found.value)


def test_a_folder_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.symlink_to(tmp_path / "nowhere")
    with pytest.raises(PixtralError, match="cannot be stored"):
        keys.save(FAR, "k", folder / "keys.json")
