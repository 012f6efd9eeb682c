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
