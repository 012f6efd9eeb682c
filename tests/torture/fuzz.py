"""Run as a program, `python -m tests.torture.fuzz TARGET SECONDS`: feeds changed inputs to a reader of what others wrote.

A target may raise the errors it documents; any other ends the program with a traceback and the input in hexadecimal.
Atheris, where it is installed, looks for inputs that reach new code; elsewhere samples are changed at random.
"""

import contextlib
import json
import os
import random
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

SAMPLES = Path(tempfile.gettempdir()) / f"pixtral-fuzz-{os.getpid()}"


def targets() -> dict[str, tuple[Callable[[bytes], object], tuple[type[BaseException], ...], list[bytes]]]:
    """For each target the function, what it may raise, and samples to begin with."""
    from pixtral_cli import images
    from pixtral_cli.api import messages as wire
    from pixtral_cli.engines.local.config import read_params
    from pixtral_cli.engines.local.tokens.tokenizer import Tokenizer
    from pixtral_cli.engines.local.weights import checkpoint
    from pixtral_cli.engines.remote import wire_format
    from pixtral_cli.errors import ImageError, ModelError, OutOfMemory, PixtralError
    from pixtral_cli.images import rare_formats
    from pixtral_cli.models import verify
    from pixtral_cli.models.names import demo_folder
    from pixtral_cli.server.http.errors import ApiError
    from pixtral_cli.server.shapes import shape
    from pixtral_cli.structured import schema, shorthand
    from pixtral_cli.terminal.repl import input_parser
    from pixtral_cli.util.sanitize import clean

    SAMPLES.mkdir(exist_ok=True)
    params = read_params(demo_folder(), "x")
    demo = {file.name: file.read_bytes() for file in demo_folder().iterdir() if file.suffix == ".json"}
    header = (demo_folder() / "consolidated.safetensors").open("rb").read(1 << 16)
    header = header[: 8 + struct.unpack("<Q", header[:8])[0]]

    def written(name: str, data: bytes) -> Path:
        (SAMPLES / name).write_bytes(data)
        return SAMPLES

    def picture(data: bytes) -> None:
        with contextlib.suppress(rare_formats.MalformedFile):
            if (kind := rare_formats.detect_format(data)) not in ("", "PDF"):
                rare_formats.size(data, kind)
        images.from_bytes(data, "x")

    def safetensors(data: bytes) -> None:
        verify.format_problem(written("x.safetensors", data) / "x.safetensors")
        checkpoint.read_header(SAMPLES / "x.safetensors", "x")

    def config(data: bytes) -> None:
        name, other = ("params.json", "config.json")[:: 1 if data[:1] != b" " else -1]
        (SAMPLES / other).unlink(missing_ok=True)
        read_params(written(name, data), "x")

    def request(data: bytes) -> None:
        with contextlib.suppress(ApiError):
            shape.chat_completions(bytearray(data))
        value = wire.parse(data)
        wire.messages(value.get("messages") if isinstance(value, dict) else value, load=lambda *_: refuse())

    def refuse() -> "images.Image":
        raise ImageError("no images here")

    def event(data: bytes) -> None:
        wire_format.parse_event(json.loads(data))

    def short_schema(data: bytes) -> None:
        schema.check(shorthand.parse(data.decode("utf-8", "replace")))

    def typed(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        meant = input_parser.parse(text, lambda name: len(name) % 3 == 0)
        if isinstance(meant, input_parser.Question):
            assert meant.text is not None
        assert clean(clean(text)) == clean(text)

    message = {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "data:,"}}]}  # fmt: skip
    asked = {"model": "m", "messages": [message], "temperature": 0.5, "stop": ["a"], "stream": True, "max_tokens": 5}
    said = {"choices": [{"index": 0, "delta": {"content": "x", "tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 2}, "timings": {"total": 0.5}}  # fmt: skip
    return {
        "image": (picture, (ImageError, OutOfMemory), pictures()),
        "params": (config, (ModelError,), [demo["params.json"], b" " + json.dumps({"model_type": "mistral"}).encode()]),
        "tekken": (lambda data: Tokenizer(written("tekken.json", data), params, "x"), (ModelError,), [demo["tekken.json"]]),
        "safetensors": (safetensors, (ModelError,), [header, header + bytes(64)]),
        "request": (request, (PixtralError,), [json.dumps(asked).encode()]),
        "event": (event, (wire_format.MalformedEvent, ValueError, RecursionError), [json.dumps(said).encode()]),
        "shorthand": (short_schema, (shorthand.ShorthandError, PixtralError), [b"shop, items[name, price:float: in euros], size?:small|large", b"[a:int, b{c, d:bool}]"]),
        "typed": (typed, (), [b"what is in ~/a\\ b.png and 'c d.jpg'?", b"/crop 1 2 3 4 5", b"@x https://a.b/c.png `d.png` #1", b'"""\nhi\n"""']),
    }  # fmt: skip


def pictures() -> list[bytes]:
    import io

    from PIL import Image

    found = []
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "ICO", "PPM", "AVIF", "JPEG2000"):
        buffer = io.BytesIO()
        Image.effect_noise((20, 12), 60).convert("RGB").save(buffer, kind)
        found.append(buffer.getvalue())
    return found


def tried(name: str) -> tuple[Callable[[bytes], None], list[bytes]]:
    """The function that ends in an error for a fault alone, and the samples."""
    run, allowed, samples = targets()[name]

    def one(data: bytes) -> None:
        try:
            run(data)
        except allowed:
            return
        except BaseException:
            print(f"{name}: {data[:2000].hex()}", file=sys.stderr)
            raise

    return one, samples


def changed(data: bytes, chance: random.Random, samples: Sequence[bytes]) -> bytes:
    """The data with one to eight changes: bytes, numbers, pieces left out, repeated or taken from another sample."""
    result = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(result) + 1)
        length = chance.choice((1, 1, 2, 4, 8, 30, 300))
        piece = chance.choice(
            (
                chance.randbytes(length), b"", bytes(length), b"\xff" * length, bytes(result[at : at + length]) * 2,
                struct.pack(">I", chance.choice((0, 1, 2**31 - 1, 2**32 - 1))), str(chance.choice((-1, 0, 10**9, 10**400))).encode(),
                chance.choice((b"null", b'"', b"[", b"{", b"}", b",", b"NaN", b"1e999", b"\\ud800", b"true", b"(", b"\n")),
                (other := chance.choice(samples))[(cut := chance.randrange(len(other))) : cut + length],
            )
        )  # fmt: skip
        result[at : at + chance.choice((0, length))] = piece
    return bytes(result)


def by_chance(one: Callable[[bytes], None], samples: Sequence[bytes], seconds: float, seed: int = 0) -> int:
    """Try changed samples for so many seconds; returns how many."""
    chance, count, end = random.Random(seed), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        one(changed(chance.choice(samples), chance, samples))
        count += 1
    return count


def main(name: str, seconds: int) -> None:
    if find_spec("atheris") is None:
        print(f"{by_chance(*tried(name), seconds)} inputs", file=sys.stderr)
        return
    import atheris  # type: ignore[import-not-found, unused-ignore]

    with atheris.instrument_imports(include=["pixtral_cli"]):
        one, samples = tried(name)
    for sample in samples:
        one(sample)
    corpus = SAMPLES / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(samples):
        (corpus / str(number)).write_bytes(sample)
    limits = [f"-max_total_time={seconds}", "-rss_limit_mb=3000", "-timeout=60", "-max_len=100000", f"-artifact_prefix={SAMPLES}/"]  # fmt: skip
    atheris.Setup([sys.argv[0], *limits, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
