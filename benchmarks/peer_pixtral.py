"""This project's own engine in the benchmark's conversation."""

import time
from io import BytesIO
from pathlib import Path

from benchmarks.scenario import QUESTIONS, Result, Turn, peak_memory, picture


def run(folder: Path, side: int, tokens: int, system: str = "") -> Result:
    """One conversation through the seam that every command uses."""
    start = time.perf_counter()
    from pixtral_cli.chat.engine import Sampling
    from pixtral_cli.chat.images import from_bytes
    from pixtral_cli.chat.message import Message, assistant, user
    from pixtral_cli.engines import open_engine
    from pixtral_cli.engines.local import LocalEngine

    engine = open_engine(folder=folder, device="cpu", dtype="bfloat16")
    assert isinstance(engine, LocalEngine)
    engine.load()
    result = Result("pixtral with a system prompt" if system else "pixtral", time.perf_counter() - start)
    sampling = Sampling(temperature=0.0, max_tokens=tokens)
    png = BytesIO()
    picture(side).save(png, "PNG")
    image = from_bytes(png.getvalue(), "shapes.png")
    messages: list[Message] = [Message("system", (system,))] if system else []
    for index, question in enumerate(QUESTIONS):
        messages.append(user(question, [image] if index == 0 else []))
        pieces = []
        for chunk in engine.stream(messages, sampling):
            pieces.append(chunk.text)
            last = chunk
        assert last.usage is not None
        assert last.timings is not None
        turn = Turn(last.timings.ttft, last.timings.decode, last.usage.completion_tokens, last.usage.prompt_tokens)
        result.turns.append(turn)
        messages.append(assistant("".join(pieces) or "."))
    result.peak_memory = peak_memory()
    return result
