"""Settings: what wins over what, and what a wrong one says."""

from pathlib import Path

import pytest

from pixtral_cli import config
from pixtral_cli.errors import UsageError
from tests.config.conftest import write


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


@pytest.mark.parametrize("text", ["aliases = 1", "[aliases]\neyes = 3", '[aliases]\neyes = ""'])
def test_an_alias_is_for_a_name(env: dict[str, str], text: str) -> None:
    write(env, text)
    with pytest.raises(UsageError, match="each must be the name of a model"):
        config.load(env)


def test_a_flag_stands_above_what_the_config_says_of_a_model(env: dict[str, str]) -> None:
    write(env, "[models.demo]\ntemperature = 0.2\n")
    assert config.load(env).for_model("demo").temperature == 0.2
    assert config.load(env).override(temperature=0.9).for_model("demo").temperature == 0.9


def test_a_file_that_cannot_be_read_is_named_with_the_reason(env: dict[str, str]) -> None:
    config.config_file(env).mkdir(parents=True)
    with pytest.raises(UsageError, match=r"config.toml: Is a directory") as refused:
        config.load(env)
    assert refused.value.hint == "Check the file's permissions"


@pytest.mark.parametrize("name", ["demo", "pixtral-12b"])
def test_a_model_that_is_no_table_is_named(env: dict[str, str], name: str) -> None:
    write(env, f'[models]\n"{name}" = 1\n')
    with pytest.raises(UsageError, match=rf"\[models\.{name}\]: must be a table of settings"):
        config.load(env)
