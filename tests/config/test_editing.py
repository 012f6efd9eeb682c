"""`pixtral config set` and `unset`: what they write, and what they leave."""

import pytest

from pixtral_cli import config
from pixtral_cli.config import editing, overview
from pixtral_cli.errors import UsageError
from tests.config.conftest import write


def test_setting_a_value_keeps_the_rest_of_the_file(env: dict[str, str]) -> None:
    file = write(env, '# mine\nmodel = "demo"  # small\n')
    editing.set_value("temperature", "0.1", env)
    editing.set_value("models.pixtral-12b.dtype", "bfloat16", env)
    text = file.read_text()
    assert text.startswith('# mine\nmodel = "demo"  # small\n')
    assert config.load(env).temperature == 0.1
    assert config.load(env).for_model("pixtral-12b").dtype == "bfloat16"
    editing.set_value("temperature", None, env)
    assert overview.get("temperature", env) is None


def test_a_value_that_makes_no_sense_leaves_the_file_alone(env: dict[str, str]) -> None:
    file = write(env, 'model = "demo"\n')
    with pytest.raises(UsageError):
        editing.set_value("temperature", "warm", env)
    assert file.read_text() == 'model = "demo"\n'


def test_what_the_command_line_gets_wrong_is_named_once(env: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"^temperature must be a number, not 'warm'$"):
        editing.set_value("temperature", "warm", env)


def test_a_models_last_setting_takes_its_table_along(env: dict[str, str]) -> None:
    editing.set_value("models.demo.seed", "1", env)
    editing.set_value("models.demo.seed", None, env)
    assert "demo" not in config.config_file(env).read_text()


def test_the_written_file_is_its_owners_alone(env: dict[str, str]) -> None:
    editing.set_value("model", "demo", env)
    assert config.config_file(env).stat().st_mode & 0o077 == 0


def test_aliases_are_kept_shown_and_forgotten(env: dict[str, str]) -> None:
    write(env, "# mine\ntemperature = 0.5\n")
    editing.set_value("aliases.eyes", "pixtral-12b", env)
    editing.set_value("aliases.my.small", "ministral-3b", env)
    assert config.load(env).aliases == {"eyes": "pixtral-12b", "my.small": "ministral-3b"}
    assert overview.get("aliases.eyes", env) == "pixtral-12b"
    assert overview.describe(env)[-3:] == ["[aliases]", 'eyes = "pixtral-12b"', '"my.small" = "ministral-3b"']
    editing.set_value("aliases.my.small", None, env)
    assert config.load(env).aliases == {"eyes": "pixtral-12b"}
    assert config.paths(env).config_file.read_text().startswith("# mine\n")


@pytest.mark.parametrize(
    ("key", "wrong", "right"),
    [
        ("keep_alive", "banana", "10m"),
        ("join_timeout", "soon", "90s"),
        ("device", "gpu", "cuda:1"),
        ("dtype", "int3", "bfloat16"),
        ("quantize", "2bit", "4bit"),
        ("engine", "locl", "vllm"),
        ("thinking", "maybe", "hide"),
        ("base_url", "localhost:8000", "http://localhost:8000/v1"),
        ("models.demo.device", "gpu", "cpu"),
        ("theme.promt", "bold", "theme"),
    ],
)
def test_every_text_is_checked_when_it_is_set(env: dict[str, str], key: str, wrong: str, right: str) -> None:
    with pytest.raises(UsageError):
        editing.set_value(key, wrong, env)
    assert not config.config_file(env).exists()
    if right != "theme":
        editing.set_value(key, right, env)
        assert overview.get(key, env) == right


def test_a_setting_of_the_file_is_blamed_on_the_file(env: dict[str, str]) -> None:
    file = write(env, 'keep_alive = "banana"\n')
    with pytest.raises(UsageError, match=f"^{file}: keep_alive must be a duration, not 'banana'$"):
        config.load(env)
    with pytest.raises(UsageError, match="PIXTRAL_DEVICE: device must be auto, cpu"):
        config.load({"PIXTRAL_HOME": str(file.parent / "empty"), "PIXTRAL_DEVICE": "gpu"})


def test_what_is_not_valid_can_be_unset_and_hinders_nothing_else_from_being_unset(env: dict[str, str]) -> None:
    write(env, 'keep_alive = "banana"\ndevice = "gpu"\nseed = 1\n')
    with pytest.raises(UsageError, match="keep_alive"):
        editing.set_value("seed", "2", env)
    for key in ("seed", "device", "keep_alive"):
        editing.set_value(key, None, env)
    assert config.load(env) == config.Config()


def test_a_setting_may_be_written_as_its_flag(env: dict[str, str]) -> None:
    editing.set_value("max-tokens", "20", env)
    editing.set_value("models.pixtral-12b.top-p", "0.5", env)
    assert config.load(env).for_model("pixtral-12b").top_p == 0.5
    assert (overview.get("max_tokens", env), overview.get("max-tokens", env)) == ("20", "20")


@pytest.mark.parametrize("table", ["theme", "keys", "aliases"])
def test_a_table_goes_with_its_last_entry_or_by_its_name(env: dict[str, str], table: str) -> None:
    name = {"theme": "prompt", "keys": "newline", "aliases": "small"}[table]
    editing.set_value(f"{table}.{name}", "x", env)
    editing.set_value(f"{table}.{name}", None, env)
    assert table not in config.config_file(env).read_text()
    editing.set_value(f"{table}.{name}", "x", env)
    editing.set_value(table, None, env)
    assert table not in config.config_file(env).read_text()
    with pytest.raises(UsageError, match=f"^{table} is a table$"):
        editing.set_value(table, "x", env)


def test_the_settings_of_a_model_go_by_its_name(env: dict[str, str]) -> None:
    editing.set_value("models.pixtral-12b.seed", "1", env)
    editing.set_value("models.pixtral-12b.top_p", "0.5", env)
    editing.set_value("models.pixtral-12b", None, env)
    assert config.load(env) == config.Config()
    with pytest.raises(UsageError, match=r"^models.pixtral-12b is a table$"):
        editing.set_value("models.pixtral-12b", "x", env)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [("aliases.eyes", "", "aliases.eyes must be the name of a model"), ("models.demo.seed", "x", "seed must be")],
)
def test_a_value_of_a_table_that_makes_no_sense_is_named(env: dict[str, str], key: str, value: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        editing.set_value(key, value, env)
    assert not config.config_file(env).exists()


def test_an_empty_file_names_the_settings_and_one_that_is_there_stays(env: dict[str, str]) -> None:
    file = config.config_file(env)
    editing.create_if_missing(file)
    assert file.read_text().startswith("# Settings of pixtral: model, engine, ")
    assert file.stat().st_mode & 0o077 == 0
    assert config.load(env) == config.Config()
    file.write_text("seed = 5\n")
    editing.create_if_missing(file)
    assert file.read_text() == "seed = 5\n"


def test_a_file_that_cannot_be_written_is_one_line(env: dict[str, str]) -> None:
    parent = config.config_file(env).parent / "file"
    parent.parent.mkdir(parents=True, exist_ok=True)
    parent.write_text("a file where the folder should be")
    with pytest.raises(UsageError, match=r"cannot be written: (File exists|Not a directory)"):
        editing.create_if_missing(parent / "config.toml")


def test_the_value_of_a_models_setting_is_that_of_its_table(env: dict[str, str]) -> None:
    editing.set_value("models.demo.seed", "7", env)
    editing.set_value("seed", "8", env)
    assert overview.get("models.demo.seed", env) == "7"
    assert overview.get("models.other.seed", env) is None
    assert overview.get("seed", env) == "8"
