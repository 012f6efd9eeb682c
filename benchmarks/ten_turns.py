"""Ten turns with three pictures: the time to the first token of each, here and by mistral_inference's `generate`.

Every turn that reuses what was computed costs its own tokens alone; one that does not costs the whole conversation.
"""

import json
import statistics
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import ImageOps

from benchmarks.scenario import picture

TURNS = (
    ("What is in the image?", True),
    ("How many shapes are there?", False),
    ("Which of them is the largest?", False),
    ("And what is in this one?", True),
    ("Which of the two has more shapes?", False),
    ("What color is the circle in the first image?", False),
    ("Here is another. What is in it?", True),
    ("How do the three differ?", False),
    ("Which shape is in all of them?", False),
    ("Write a short poem about them.", False),
)
TOKENS = 16  # of an answer


def measure(folder: Path, side: int, rounds: int) -> dict[str, list[float]]:
    """Median seconds to the first token, turn by turn, of each program in interleaved fresh processes."""
    runs: dict[str, list[list[float]]] = {program.__name__: [] for program in (pixtral, mistral_inference)}
    for _ in range(rounds):
        for program, taken in runs.items():
            taken.append(_apart(program, folder, side))
    return {program: [statistics.median(turn) for turn in zip(*taken, strict=True)] for program, taken in runs.items()}


def _apart(program: str, folder: Path, side: int) -> list[float]:
    code = (
        "import json, pathlib\n"
        f"from benchmarks.ten_turns import {program} as run\n"
        f"print(json.dumps(run(pathlib.Path({str(folder)!r}), {side})))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def drawn(number: int, side: int) -> Any:
    """One picture, upright, mirrored or turned over."""
    return (lambda image: image, ImageOps.mirror, ImageOps.flip)[number](picture(side))


def pixtral(folder: Path, side: int) -> list[float]:
    from pixtral_cli.chat.engine import Sampling
    from pixtral_cli.chat.images import from_bytes
    from pixtral_cli.chat.message import Message, assistant, user
    from pixtral_cli.engines import open_engine

    engine = open_engine(folder=folder, device="cpu", dtype="bfloat16")
    messages: list[Message] = []
    seconds, shown = [], 0
    for question, new in TURNS:
        images = []
        if new:
            png = BytesIO()
            drawn(shown, side).save(png, "PNG")
            images = [from_bytes(png.getvalue(), f"{shown}.png")]
            shown += 1
        messages.append(user(question, images))
        chunks = list(engine.stream(messages, Sampling(temperature=0.0, max_tokens=TOKENS)))
        assert chunks[-1].timings
        seconds.append(chunks[-1].timings.ttft)
        messages.append(assistant("".join(chunk.text for chunk in chunks) or "."))
    return seconds


def mistral_inference(folder: Path, side: int) -> list[float]:
    from benchmarks.peer_mistral_inference import _supply_attention

    _supply_attention()
    import torch
    from mistral_common.protocol.instruct.chunk import ImageChunk, TextChunk
    from mistral_common.protocol.instruct.messages import AssistantMessage, UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
    from mistral_inference import generate as module
    from mistral_inference.transformer import Transformer

    tokenizer = MistralTokenizer.from_file(str(folder / "tekken.json"))
    model = Transformer.from_folder(folder, device="cpu", dtype=torch.bfloat16)
    stamps: list[float] = []

    def stamped(*args: Any, _sample: Any = module.sample, **options: Any) -> Any:
        token = _sample(*args, **options)
        stamps.append(time.perf_counter())
        return token

    module.sample = stamped
    messages: list[Any] = []
    seconds, shown = [], 0
    for question, new in TURNS:
        content: Any = [ImageChunk(image=drawn(shown, side)), TextChunk(text=question)] if new else question
        shown += new
        messages.append(UserMessage(content=content))
        stamps.clear()
        began = time.perf_counter()
        encoded = tokenizer.encode_chat_completion(ChatCompletionRequest(messages=messages))
        answers, _ = module.generate(
            [encoded.tokens], model, images=[encoded.images], max_tokens=TOKENS, temperature=0.0
        )
        seconds.append(stamps[0] - began)
        messages.append(AssistantMessage(content=tokenizer.decode(answers[0]) or "."))
    return seconds
