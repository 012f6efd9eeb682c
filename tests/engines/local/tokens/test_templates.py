"""The templates of the family, v3 to v15, are mistral_common's; thinking is apart from the answer, now and in history."""

import json
from pathlib import Path
from typing import Any

import pytest
from mistral_common.protocol.instruct.chunk import TextChunk, ThinkChunk
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from pixtral_cli.chat.engine import Chunk, Sampling
from pixtral_cli.chat.message import assistant, system, user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.generation import sampling as sampling_module
from pixtral_cli.engines.local.generation.detokenizer import AnswerDetokenizer
from pixtral_cli.errors import ModelError
from tests.engines.local.checkpoints import TRUE_TEKKEN, Sizes, build, image
from tests.engines.local.family import tokenizer_json

VERSIONS = ["v3", "v7", "v11", "v13", "v15"]
REASONING_PROMPT = "First think.\n[THINK]Your thoughts.[/THINK]Then answer."


def folder_of(path: Path, version: str, prompt: str = "") -> Path:
    folder = build(path, Sizes(version=version, vocab=600))
    if prompt:
        (folder / "SYSTEM_PROMPT.txt").write_text(prompt)
    return folder


def expected(folder: Path, *messages: Any) -> list[int]:
    """mistral_common's own tokens for a conversation."""
    tokenizer = MistralTokenizer.from_file(str(folder / "tekken.json"))
    return list(tokenizer.encode_chat_completion(ChatCompletionRequest(messages=list(messages))).tokens)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_conversation_has_the_tokens_of_mistral_commons_template(tmp_path: Path, version: str) -> None:
    folder = folder_of(tmp_path, version)
    said = [system("Be brief."), user("Hi"), assistant("Hello."), user("Why?")]
    found = LocalEngine(folder)._encode(said).tokens
    assert found == expected(
        folder, SystemMessage(content="Be brief."), UserMessage(content="Hi"), AssistantMessage(content="Hello."),
        UserMessage(content="Why?"),
    )  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_with_a_system_prompt_the_second_turn_begins_with_the_whole_first(tmp_path: Path, version: str) -> None:
    engine = LocalEngine(folder_of(tmp_path, version))
    first = [system("Be brief."), user("What?", [image(64, 32)])]
    tokens = engine._encode(first).tokens
    assert engine._encode([*first, assistant("A."), user("Why?")]).tokens[: len(tokens)] == tokens


@pytest.mark.parametrize("version", ["v13", "v15"])
def test_thinking_in_history_is_kept_where_the_template_has_a_place_for_it(tmp_path: Path, version: str) -> None:
    folder = folder_of(tmp_path, version)
    said = [user("Hi"), assistant("Hello.", reasoning="A greeting."), user("Why?")]
    thought = AssistantMessage(content=[ThinkChunk(thinking="A greeting."), TextChunk(text="Hello.")])
    found = LocalEngine(folder)._encode(said).tokens
    assert found == expected(folder, UserMessage(content="Hi"), thought, UserMessage(content="Why?"))


@pytest.mark.parametrize("version", VERSIONS[:3])
def test_thinking_in_history_is_left_out_where_it_has_none(tmp_path: Path, version: str) -> None:
    engine = LocalEngine(folder_of(tmp_path, version))
    said = [user("Hi"), assistant("Hello.", reasoning="A greeting."), user("Why?")]
    assert engine._encode(said).tokens == engine._encode([user("Hi"), assistant("Hello."), user("Why?")]).tokens


def test_a_reasoning_models_own_system_prompt_is_used_unless_another_is_given(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "v13", REASONING_PROMPT)
    chunks = [TextChunk(text="First think.\n"), ThinkChunk(thinking="Your thoughts."), TextChunk(text="Then answer.")]
    engine = LocalEngine(folder)
    asked = UserMessage(content="Hi")
    assert engine._encode([user("Hi")]).tokens == expected(folder, SystemMessage(content=chunks), asked)
    own = [system("Be brief."), user("Hi")]
    assert engine._encode(own).tokens == expected(folder, SystemMessage(content="Be brief."), asked)
    assert engine.measure([user("Hi")]).prompt_tokens == len(engine._encode([user("Hi")]).tokens)
    assert engine._encode([system(""), user("Hi")]).tokens == expected(folder, asked)


@pytest.mark.parametrize(("version", "prompt"), [("v13", "You are a helpful model."), ("v7", REASONING_PROMPT)])
def test_another_models_system_prompt_is_not(tmp_path: Path, version: str, prompt: str) -> None:
    engine = LocalEngine(folder_of(tmp_path, version, prompt))
    assert (
        engine._encode([user("Hi")]).tokens
        == LocalEngine(folder_of(tmp_path / "bare", version))._encode([user("Hi")]).tokens
    )


def test_a_system_prompt_that_cannot_be_read_is_an_error_of_the_model(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "v13", REASONING_PROMPT)
    (folder / "SYSTEM_PROMPT.txt").write_bytes(b"\xff[THINK]")
    with pytest.raises(ModelError, match=r"SYSTEM_PROMPT.txt of .* cannot be read"):
        LocalEngine(folder).measure([user("Hi")])


def test_thinking_comes_as_chunks_of_its_own_and_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = LocalEngine(folder_of(tmp_path, "v13"), device="cpu")
    start, end = engine.tokenizer.think_tokens or (0, 0)
    words = engine.tokenizer._tekken.encode
    tokens = [start, *words("so", False, False), end, *words("yes", False, False), engine.tokenizer.eos]
    script = iter(tokens)
    monkeypatch.setattr(sampling_module, "make_sampler", lambda *_: lambda logits: next(script))
    *chunks, last = engine.stream([user("Hi")], Sampling())
    assert ("".join(chunk.reasoning for chunk in chunks), "".join(chunk.text for chunk in chunks)) == ("so", "yes")
    assert last.usage
    assert (last.usage.completion_tokens, last.usage.reasoning_tokens) == (len(tokens) - 1, tokens.index(end) + 1)


def test_a_stop_string_ends_the_answer_and_not_the_thinking() -> None:
    answer = AnswerDetokenizer(lambda token: bytes([token]) if token > 2 else b"", ("x",), (1, 2))
    chunks = [answer.feed(token) for token in b"\x01axb\x02cxd"]
    assert ("".join(chunk.reasoning for chunk in chunks), "".join(chunk.text for chunk in chunks)) == ("axb", "c")
    assert answer.stopped
    assert answer.reasoning_tokens == 5


def test_think_tokens_out_of_place_are_nothing() -> None:
    answer = AnswerDetokenizer(lambda token: bytes([token]) if token > 2 else b"", (), (1, 2))
    chunks = [answer.feed(token) for token in b"\x02a\x01b\x01c\x02\x02d"]
    assert [chunk for chunk in chunks if chunk != Chunk()] == [
        Chunk("a"), Chunk(reasoning="b"), Chunk(reasoning="c"), Chunk("d"),
    ]  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS[:4])
def test_a_tokenizer_json_is_the_same_tokenizer(tmp_path: Path, version: str) -> None:
    sizes = Sizes(version=version, vocab=600)
    folder = build(tmp_path / "mistral", sizes)
    other = build(tmp_path / "transformers", sizes)
    tekken = json.loads((other / "tekken.json").read_text())
    (other / "tekken.json").unlink()
    (other / "tokenizer.json").write_text(json.dumps(tokenizer_json(tekken)))
    (other / "params.json").unlink()
    from tests.engines.local.family import transformers_config

    transformers_config(sizes).save_pretrained(other)
    said = [user("Über 12 Zebras, 你好 🦓\n\n  x", [image(64, 32)]), assistant("Nein."), user("Why?")]
    assert LocalEngine(other)._encode(said).tokens == LocalEngine(folder)._encode(said).tokens


def test_the_true_vocabulary_survives_a_tokenizer_json(tmp_path: Path) -> None:
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    from pixtral_cli.engines.local.tokens.transformers_tokenizer import tekken_arguments

    true = json.loads(TRUE_TEKKEN.read_bytes())
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(tokenizer_json(true, merges=False)))
    ours, theirs = Tekkenizer(**tekken_arguments(file.read_bytes(), None)), Tekkenizer.from_file(TRUE_TEKKEN)
    text = "The quick brown fox; naïve café, 漢字かな 🦓👩‍👩‍👧 \t\n\n\n" + "a" * 50 + " 1234567"
    assert ours.encode(text, False, False) == theirs.encode(text, False, False)
    assert ours.n_words == theirs.n_words


@pytest.mark.parametrize("damage", [b"{}", b"[", b'{"model": {"type": "Unigram"}}'])
def test_another_tokenizer_json_is_refused(tmp_path: Path, damage: bytes) -> None:
    from tests.engines.local.family import in_transformers_format

    folder = in_transformers_format(tmp_path, Sizes(), 0)
    (folder / "tekken.json").unlink()
    (folder / "tokenizer.json").write_bytes(damage)
    with pytest.raises(ModelError, match=r"tokenizer.json of .* is damaged or not a tekken tokenizer"):
        LocalEngine(folder).measure([user("Hi")])
