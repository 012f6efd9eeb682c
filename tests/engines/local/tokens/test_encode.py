"""Conversations become the tokens that mistral_common makes of them, and images the pixels; what cannot fit is refused early."""

import json
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.protocol.instruct.chunk import ImageChunk, TextChunk
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.image import ImageConfig, ImageEncoder, SpecialImageIDs
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from PIL import Image as PILImage

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import Message, assistant, system, user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.model.vision import image_pixels
from pixtral_cli.engines.local.tokens.tokenizer import CachingTekkenizer
from pixtral_cli.errors import ContextError, PixtralError, UsageError
from pixtral_cli.images.image import Image
from tests.engines.local.checkpoints import TRUE_TEKKEN, Sizes, build, image, picture, processed

SMALL3 = Sizes(merge=2, patch=14, image=1540, version="v7")
PIXTRAL = Sizes(image=1024, vocab=131072)


def unloadable(folder: Path, sizes: Sizes | None = None) -> LocalEngine:
    """An engine with a tokenizer and sizes, and no weights: whoever touches them fails."""
    build(folder, sizes or Sizes())
    (folder / "consolidated.safetensors").unlink()
    return LocalEngine(folder)


@pytest.fixture(scope="module")
def pixtral(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    """Pixtral 12B's own tokenizer and image sizes."""
    folder = tmp_path_factory.mktemp("pixtral")
    (folder / "params.json").write_text(json.dumps(PIXTRAL.params))
    (folder / "tekken.json").write_bytes(TRUE_TEKKEN.read_bytes())
    return LocalEngine(folder)


@pytest.fixture(scope="module")
def merging(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    """The image sizes of Mistral Small 3.1."""
    return unloadable(tmp_path_factory.mktemp("merging"), SMALL3)


def theirs(folder: Path, said: Sequence[Message]) -> list[int]:
    """mistral_common's own encoding of the real pixels."""
    tokenizer = MistralTokenizer.from_file(folder / "tekken.json")
    chat = []
    for message in said:
        if message.role == "user":
            chunks = [
                TextChunk(text=part) if isinstance(part, str) else ImageChunk(image=part.pixels())
                for part in message.parts
            ]
            chat.append(UserMessage(content=chunks))
        else:
            chat.append({"assistant": AssistantMessage, "system": SystemMessage}[message.role](content=message.text))
    return list(tokenizer.encode_chat_completion(ChatCompletionRequest(messages=chat)).tokens)


def bare(width: int, height: int) -> Image:
    """An image of a size, without pixels: who decodes it fails."""
    return Image(b"", "bare.png", "PNG", width, height, f"{width}x{height}")


LATER = [replace(SMALL3, version=version) for version in ("v11", "v13")]


@pytest.mark.parametrize("sizes", [Sizes(), SMALL3, *LATER], ids=["v3", "v7 merged", "v11 merged", "v13 merged"])
def test_tokens_are_those_of_mistral_common(tmp_path: Path, sizes: Sizes) -> None:
    engine = LocalEngine(build(tmp_path, sizes))
    said = [
        system("Be brief.\nAlways."),
        user("What is this?", [image(200, 90, 1), image(10, 300, 2)]),
        assistant("A circle, and   spaces  "),
        Message("user", ("before ", image(64, 65, 3), " after")),
        assistant("Ünïcode ✓ 你好 🦓"),
        user("And?"),
    ]
    assert engine._encode(said).tokens == theirs(tmp_path, said)


@given(size=st.tuples(st.integers(1, 10_000), st.integers(1, 10_000)))
@settings(max_examples=300, deadline=None)
def test_an_image_costs_what_mistral_common_says(
    pixtral: LocalEngine, merging: LocalEngine, size: tuple[int, int]
) -> None:
    for engine, config in ((pixtral, ImageConfig(16, 1024)), (merging, ImageConfig(14, 1540, 2))):
        columns, rows = ImageEncoder(config, SpecialImageIDs(10, 12, 13))._image_to_num_tokens(_Sized(size))
        grid = engine.tokenizer.grid(size)
        assert (grid.columns, grid.rows) == (columns, rows)


class _Sized(PILImage.Image):
    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self._size = size


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [(1, 1, 2), (1, 10_000, 128), (10_000, 1, 65), (1024, 1024, 4160), (4000, 3000, 3120)],
)
def test_measure_counts_without_weights_or_pixels(pixtral: LocalEngine, width: int, height: int, tokens: int) -> None:
    cost = pixtral.measure([user("", [bare(width, height)])])
    assert cost.images[0].tokens == tokens
    assert cost.prompt_tokens == tokens + 3
    assert cost.context_window == 128_000


@given(size=st.tuples(st.integers(1, 200), st.integers(1, 200)), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_pixels_are_bit_for_bit_those_of_mistral_common(pixtral: LocalEngine, size: tuple[int, int], seed: int) -> None:
    placed = pixtral._encode([user("", [image(*size, seed)])]).images[0]
    assert np.array_equal(image_pixels(placed).numpy(), processed(picture(*size, seed), PIXTRAL))


@pytest.mark.parametrize("text", ["[INST] [IMG] </s> [/INST]", "<s>[IMG_BREAK][IMG_END]<unk><pad>"])
def test_typed_control_tokens_stay_text(tmp_path: Path, text: str) -> None:
    engine = unloadable(tmp_path)
    tokens = engine._encode([user(text)]).tokens
    assert [token for token in tokens if engine.tokenizer.is_special(token)] == [1, 3, 4]
    assert b"".join(map(engine.tokenizer.bytes_of, tokens)).decode() == text


@pytest.mark.parametrize(
    "said",
    [
        [user("")],
        [user("one"), user("two")],
        [user("one"), assistant(""), user("two")],
        [user("one"), assistant("   "), user("two")],
        [user("one"), assistant("half", interrupted=True), assistant("more"), user("two")],
        [assistant("I begin"), user("two")],
        [system(""), user("one")],
        [user("one"), system("late"), assistant("a"), system("later"), user("two")],
        [user("\ud800 lone surrogate \x00")],
        [Message("user", ())],
        [Message("user", (image(20, 20), image(20, 20, 1)))],
        [Message("user", ("text", image(20, 20)))],
        [Message("user", ("a", "b", image(20, 20), "", "c", image(20, 20, 1)))],
        [user("x" * 50_000)],
    ],
)
@pytest.mark.parametrize("version", ["v3", "v7"])
def test_every_conversation_that_ends_with_the_user_can_be_encoded(
    tmp_path: Path, said: list[Message], version: str
) -> None:
    prompt = unloadable(tmp_path, Sizes(version=version))._encode(said)
    assert prompt.tokens[0] == 1
    assert prompt.tokens[-1] == 4
    assert len(prompt.images) == sum(len(message.images) for message in said)
    for placed in prompt.images:
        assert prompt.tokens[placed.start] == 10
        assert prompt.tokens[placed.stop - 1] == 13


@pytest.mark.parametrize(
    "said", [[], [system("s")], [user("q"), assistant("a")], [Message("assistant", (image(9, 9),)), user("q")]]
)
def test_a_conversation_without_a_question_is_refused(tmp_path: Path, said: list[Message]) -> None:
    with pytest.raises(UsageError):
        unloadable(tmp_path)._encode(said)


def test_an_image_for_a_model_without_eyes_is_refused(tmp_path: Path) -> None:
    engine = unloadable(tmp_path, Sizes(extra={"vision_encoder": None}))
    assert engine.measure([user("hi")]).prompt_tokens > 3
    with pytest.raises(UsageError, match="no vision encoder"):
        engine.measure([user("hi", [image(9, 9)])])


def refused(engine: LocalEngine, said: list[Message], sampling: Sampling | None = None) -> PixtralError:
    start = time.process_time()
    with pytest.raises(ContextError) as caught:
        list(engine.stream(said, sampling or Sampling()))
    assert time.process_time() - start < 4  # of this process alone: the machine may be busy
    assert len(caught.value.message) <= 120
    return caught.value


def test_one_token_too_many_is_refused_before_the_weights(pixtral: LocalEngine) -> None:
    words = " word" * (128_000 - 4)
    cost = pixtral.measure([user(words)])
    assert cost.prompt_tokens == 127_999
    error = refused(pixtral, [user(words + " word")])
    assert "128,000" in error.message
    error = refused(pixtral, [user(words)], Sampling(max_tokens=2))
    assert "127,999 tokens and 2 for the answer" in error.message


def test_too_many_images_are_refused_before_any_is_decoded(pixtral: LocalEngine) -> None:
    error = refused(pixtral, [user("", [bare(1024, 1024)] * 31)])
    assert "31 images take 128,960 tokens, the context window is 128,000" in error.message


@pytest.mark.parametrize(
    "text", [" " * 1_000_000, "\n" * 1_000_000, "a \t" * 10 + " " * 500_000 + "b", "a" * 20_000_000]
)
def test_text_that_breaks_or_stalls_the_tokenizer_is_refused(pixtral: LocalEngine, text: str) -> None:
    refused(pixtral, [user(text)])


def test_a_long_run_of_spaces_that_fits_is_encoded(pixtral: LocalEngine) -> None:
    assert pixtral.measure([user((" " * 99_999 + "x") * 3)]).prompt_tokens < 10_000


def test_the_window_is_that_of_the_params(tmp_path: Path) -> None:
    engine = unloadable(tmp_path, Sizes(extra={"max_position_embeddings": 40}))
    assert engine.measure([user("hi")]).context_window == 40
    refused(engine, [user("word " * 40)])


def test_what_was_encoded_once_is_not_encoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = unloadable(tmp_path)
    said = [user("Lorem ipsum"), assistant("dolor")]
    engine.measure([*said, user("sit")])
    seen: list[str] = []
    encode = Tekkenizer.encode
    monkeypatch.setattr(Tekkenizer, "encode", lambda self, s, bos, eos: seen.append(s) or encode(self, s, bos, eos))
    engine.measure([*said, user("sit"), assistant("amet"), user("sit")])
    assert seen == ["amet"]


def test_tokens_are_named_as_mistral_common_names_them(tmp_path: Path) -> None:
    folder = build(tmp_path, Sizes())
    ours, theirs = CachingTekkenizer.from_file(folder / "tekken.json"), Tekkenizer.from_file(folder / "tekken.json")
    assert ours.vocab() == theirs.vocab()
    assert [ours.id_to_piece(token) for token in range(30)] == [theirs.id_to_piece(token) for token in range(30)]


def test_the_cache_of_encoded_texts_counts_the_memory_that_it_takes(tmp_path: Path) -> None:
    tokenizer = CachingTekkenizer.from_file(build(tmp_path, Sizes()) / "tekken.json")
    tokenizer.encode("warm", False, False)
    for text in ("{}", "{} of many short questions", "{} " + "long " * 200):
        counted = tokenizer._encoded.size
        tracemalloc.start()
        for number in range(1_000):
            tokenizer.encode(text.format(number), False, False)
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert 0.7 * taken <= tokenizer._encoded.size - counted <= 2 * taken
