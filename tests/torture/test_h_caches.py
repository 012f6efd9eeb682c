"""Torture H: caches beside a model grow no larger than the model and leave room where there is little."""

from pathlib import Path

from PIL import Image as PILImage

from pixtral_cli import doctor, images
from pixtral_cli.chat.engine import CacheUse, Sampling
from pixtral_cli.chat.message import user
from pixtral_cli.doctor.weights import caches_check
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.model.vision import VisionEncoder
from pixtral_cli.engines.local.runtime.cache_limits import feature_cache_limit, idle_kv_limit
from pixtral_cli.engines.local.tokens.encode import encode
from pixtral_cli.images.image import Image
from pixtral_cli.models.names import demo_folder
from pixtral_cli.util.memory import Memory
from tests.engines.local.checkpoints import Sizes, build
from tests.fakes import FakeEngine
from tests.server.serving import serving
from tests.torture.pictures import encoded

MIB, GIB = 1 << 20, 1 << 30
ONE_TOKEN = Sampling(temperature=0, max_tokens=1)


def picture(shade: int) -> Image:
    return images.from_bytes(encoded(PILImage.new("RGB", (96, 96), (shade, 0, 255 - shade)), "PNG"), "x.png")


def test_image_features_take_no_more_than_the_model_or_a_part_of_the_memory(tmp_path: Path) -> None:
    assert feature_cache_limit(9 * MIB, 64 * GIB) == 9 * MIB
    assert feature_cache_limit(25 * GIB, 2 * GIB) == 128 * MIB
    assert feature_cache_limit(25 * GIB, 64 * GIB) == GIB
    engine = LocalEngine(build(tmp_path / "model", Sizes(image=96)), device="cpu", dtype="fp32")
    weights = engine.load().weights.size
    assert engine.cache_use()["image_features"] == CacheUse(0, weights)
    one = 0
    for shade in range(255):
        list(engine.stream([user("?", [picture(shade)])], ONE_TOKEN))
        held = engine.cache_use()["image_features"].size
        one = one or held
        assert 0 < held <= weights
    assert held > weights - one  # it is full
    assert engine.cache_use()["idle_kv"].size <= engine.cache_use()["idle_kv"].limit


def test_where_memory_is_short_no_features_are_kept(tmp_path: Path) -> None:
    engine = LocalEngine(build(tmp_path / "model", Sizes(image=96)), device="cpu", dtype="fp32")
    weights = engine.load().weights
    (image,) = encode([user("?", [picture(1)])], engine.tokenizer, 1000).images
    free = [0]
    encoder = VisionEncoder(weights, engine.params, GIB, lambda device: free[0])
    size = encoder.features(image).nbytes
    assert encoder.cache_use.size == 0
    free[0] = 100 * size
    encoder.features(image)
    assert encoder.cache_use.size == size


def test_metrics_tell_what_the_caches_hold_and_may_hold() -> None:
    caches = {"image_features": [300, 9000], "idle_kv": [20, 700]}
    with serving(FakeEngine(), caches=lambda: caches) as running, running.client as client:
        lines = client.get("/metrics").text.splitlines()
    assert 'pixtral_cache_bytes{cache="image_features"} 300' in lines
    assert 'pixtral_cache_limit_bytes{cache="idle_kv"} 700' in lines


def test_doctor_tells_what_the_caches_beside_the_model_may_take() -> None:
    says = caches_check("demo", 9 * MIB, Memory(64 * GIB)).says
    assert says == "demo keeps up to 9.0 MiB of image features and 128.0 MiB of idle KV caches"
    assert "16.0 GiB of idle" in caches_check("pixtral-12b", 25 * GIB, Memory(64 * GIB)).says
    assert "demo keeps up to" in {check.name: check.says for check in doctor.examine()}["caches"]


def test_the_limits_are_those_of_the_engine() -> None:
    engine = LocalEngine(demo_folder(), device="cpu", dtype="fp32", available=lambda device: GIB)
    assert engine.cache_use() == {}
    runner = engine.load()
    assert engine.cache_use()["idle_kv"].limit == idle_kv_limit(runner.weights.size, 1 << 50)
