"""Settings: what wins over what, and what a wrong one says."""

from pathlib import Path

import pytest

from pixtral_cli import config
from pixtral_cli.errors import UsageError


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"PIXTRAL_HOME": str(tmp_path)}


def write(env: dict[str, str], text: str) -> Path:
    file = config.paths(env).config_file
    file.write_text(text)
    return file


def test_without_a_file_everything_is_a_default(env: dict[str, str]) -> None:
    assert config.load(env) == config.Config()


def test_the_environment_wins_over_the_file_and_a_flag_over_both(env: dict[str, str]) -> None:
    write(env, 'model = "demo"\ntemperature = 0.5\ntop_p = 0.9\n')
    env["PIXTRAL_TEMPERATURE"] = "0.7"
    settings = config.load(env).override(top_p=0.8, model=None)
    assert (settings.model, settings.temperature, settings.top_p) == ("demo", 0.7, 0.8)


def test_a_models_table_serves_that_model_alone(env: dict[str, str]) -> None:
    write(env, '[models."pixtral-12b"]\ntemperature = 0.2\n')
    settings = config.load(env)
    assert settings.for_model("pixtral-12b").temperature == 0.2
    assert settings.for_model("demo").temperature is None


def test_pixtral_home_holds_everything(env: dict[str, str], tmp_path: Path) -> None:
    paths = config.paths(env)
    assert all(tmp_path in folder.parents for folder in (paths.config_file, paths.data, paths.cache, paths.state))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("temprature = 1", "Did you mean temperature?"),
        ("temperature = 'warm'", "temperature must be a number, not 'warm'"),
        ("plain = 3", "plain must be true or false"),
        ("seed = true", "seed must be a whole number"),
        ("temperature = -5", "temperature must be 0 to 10, not -5"),
        ("temperature = nan", "temperature must be 0 to 10, not nan"),
        ("top_p = 7", "top_p must be 0 to 1, not 7"),
        ("max_tokens = 0", "max_tokens must be 1 or more, not 0"),
        ("tempo = 1", "Settings: model, engine, "),
        ("[modles.demo]\nseed = 1", "Did you mean models?"),
        ("models = 1", "must be a table of settings"),
        ("model =", "not valid TOML"),
        ("[models.demo]\ntempo = 1", "[models.demo]: unknown setting 'tempo'"),
    ],
)
def test_a_wrong_setting_is_named(env: dict[str, str], text: str, said: str) -> None:
    file = write(env, text)
    with pytest.raises(UsageError) as caught:
        config.load(env)
    assert said in f"{caught.value.message} {caught.value.hint}"
    assert str(file) in caught.value.message


def test_a_wrong_variable_is_named(env: dict[str, str]) -> None:
    env["PIXTRAL_MAX_TOKENS"] = "many"
    with pytest.raises(UsageError, match="PIXTRAL_MAX_TOKENS: max_tokens must be a whole number"):
        config.load(env)


def test_setting_a_value_keeps_the_rest_of_the_file(env: dict[str, str]) -> None:
    file = write(env, '# mine\nmodel = "demo"  # small\n')
    config.set_value("temperature", "0.1", env)
    config.set_value("models.pixtral-12b.dtype", "bfloat16", env)
    text = file.read_text()
    assert text.startswith('# mine\nmodel = "demo"  # small\n')
    assert config.load(env).temperature == 0.1
    assert config.load(env).for_model("pixtral-12b").dtype == "bfloat16"
    config.set_value("temperature", None, env)
    assert config.get("temperature", env) is None


def test_a_value_that_makes_no_sense_leaves_the_file_alone(env: dict[str, str]) -> None:
    file = write(env, 'model = "demo"\n')
    with pytest.raises(UsageError):
        config.set_value("temperature", "warm", env)
    assert file.read_text() == 'model = "demo"\n'


def test_what_the_command_line_gets_wrong_is_named_once(env: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"^temperature must be a number, not 'warm'$"):
        config.set_value("temperature", "warm", env)


def test_a_models_last_setting_takes_its_table_along(env: dict[str, str]) -> None:
    config.set_value("models.demo.seed", "1", env)
    config.set_value("models.demo.seed", None, env)
    assert "demo" not in config.config_file(env).read_text()


def test_what_is_in_force_is_described_with_its_source(env: dict[str, str]) -> None:
    write(env, 'model = "demo"\n[models.demo]\nseed = 1\n')
    env["PIXTRAL_DEVICE"] = "cpu"
    lines = config.describe(env)
    assert lines == ['model = "demo"', 'device = "cpu"  # PIXTRAL_DEVICE', "", "[models.demo]", "seed = 1"]


def test_the_written_file_is_its_owners_alone(env: dict[str, str]) -> None:
    config.set_value("model", "demo", env)
    assert config.config_file(env).stat().st_mode & 0o077 == 0


def test_aliases_are_kept_shown_and_forgotten(env: dict[str, str]) -> None:
    write(env, "# mine\ntemperature = 0.5\n")
    config.set_value("aliases.eyes", "pixtral-12b", env)
    config.set_value("aliases.my.small", "ministral-3b", env)
    assert config.load(env).aliases == {"eyes": "pixtral-12b", "my.small": "ministral-3b"}
    assert config.get("aliases.eyes", env) == "pixtral-12b"
    assert config.describe(env)[-3:] == ["[aliases]", 'eyes = "pixtral-12b"', '"my.small" = "ministral-3b"']
    config.set_value("aliases.my.small", None, env)
    assert config.load(env).aliases == {"eyes": "pixtral-12b"}
    assert config.paths(env).config_file.read_text().startswith("# mine\n")


@pytest.mark.parametrize("text", ["aliases = 1", "[aliases]\neyes = 3", '[aliases]\neyes = ""'])
def test_an_alias_is_for_a_name(env: dict[str, str], text: str) -> None:
    write(env, text)
    with pytest.raises(UsageError, match="each must be the name of a model"):
        config.load(env)


def test_a_flag_stands_above_what_the_config_says_of_a_model(env: dict[str, str]) -> None:
    write(env, "[models.demo]\ntemperature = 0.2\n")
    assert config.load(env).for_model("demo").temperature == 0.2
    assert config.load(env).override(temperature=0.9).for_model("demo").temperature == 0.9
