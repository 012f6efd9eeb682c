"""API keys: each for one host, from the environment or a file that only its owner can read."""

import os
from pathlib import Path

import pytest

from pixtral_cli.engines.remote import keys
from pixtral_cli.errors import PixtralError, UsageError

FAR = "https://api.mistral.ai/v1"


def test_a_key_comes_from_the_environment_then_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "keys.json"
    assert keys.find(FAR, file, {}) is None
    keys.save(FAR, "stored", file)
    keys.save("http://other.example/v1", "theirs", file)
    assert keys.find(FAR, file, {}) == "stored"
    assert keys.find(FAR, file, {"MISTRAL_API_KEY": "given"}) == "given"
    assert keys.find("http://other.example/v1", file, {"MISTRAL_API_KEY": "given"}) == "theirs"
    assert keys.find("http://other.example/v1", file, {"PIXTRAL_API_KEY": "mine"}) == "mine"
    assert keys.find("https://third.example", file, {"MISTRAL_API_KEY": "given"}) is None
    keys.save(FAR, None, file)
    assert keys.find(FAR, file, {}) is None


@pytest.mark.parametrize(
    "other",
    [
        "http://localhost:8001/v1",
        "https://localhost:8000/v1",
        "http://localhost/v1",
        "http://127.0.0.1:8000",
        "http://a.localhost:8000",
    ],
)
def test_a_stored_key_goes_to_its_scheme_host_and_port_alone(tmp_path: Path, other: str) -> None:
    file = tmp_path / "keys.json"
    keys.save("http://localhost:8000/v1", "secret", file)
    assert keys.find("http://LOCALHOST:8000/other", file, {}) == "secret"
    assert keys.find(other, file, {}) is None


def test_a_key_stored_by_host_alone_goes_to_https_on_its_usual_port(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.touch(0o600)
    file.write_text('{"api.mistral.ai": "old"}')
    assert keys.find("https://api.mistral.ai:443/v1", file, {}) == keys.find(FAR, file, {}) == "old"
    assert keys.find("https://api.mistral.ai:8443", file, {}) is None
    keys.save(FAR, "new", file)
    assert keys.find(FAR, file, {}) == "new"


def test_la_plateformes_key_is_not_sent_unencrypted(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not sent unencrypted"):
        keys.find("http://api.mistral.ai/v1", tmp_path / "keys.json", {"MISTRAL_API_KEY": "k"})


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


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o601])
def test_a_file_of_keys_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "keys.json"
    keys.save("https://api.example/v1", "k", file)
    assert keys.find("https://api.example/v1", file, {}) == "k"
    file.chmod(mode)
    with pytest.raises(UsageError, match="can be read by others"):
        keys.find("https://api.example/v1", file, {})
