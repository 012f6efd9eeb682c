"""`pixtral config`: the settings in force and where they come from."""

from pixtral_cli.config import overview
from tests.config.conftest import write


def test_what_is_in_force_is_described_with_its_source(env: dict[str, str]) -> None:
    write(env, 'model = "demo"\n[models.demo]\nseed = 1\n')
    env["PIXTRAL_DEVICE"] = "cpu"
    lines = overview.describe(env)
    assert lines == ['model = "demo"', 'device = "cpu"  # PIXTRAL_DEVICE', "", "[models.demo]", "seed = 1"]
