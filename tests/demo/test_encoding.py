"""What the model is trained on is what the product sends: token for token as mistral_common writes the chat template."""

from pathlib import Path
from random import Random

import pytest
import torch
from mistral_common.protocol.instruct.chunk import ImageChunk, TextChunk
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from PIL import Image

from demo import families
from demo.encoding import collate, encode, mask
from demo.objective import losses
from demo.samples import Sample, Turn
from demo.tokenizer import EOS, PAD, Tokenizer
from demo.twin import Twin


@pytest.fixture(scope="module")
def vendor(cut: Path) -> MistralTokenizer:
    return MistralTokenizer.from_file(cut / "tekken.json")


def by_vendor(vendor: MistralTokenizer, sample: Sample, turns: tuple[Turn, ...]) -> list[int]:
    """The conversation as mistral_common encodes it, its last answer appended."""
    messages: list[SystemMessage | UserMessage | AssistantMessage] = []
    if sample.system:
        messages.append(SystemMessage(content=sample.system))
    for i, turn in enumerate(turns):
        numbers = range(len(sample.pictures)) if sample.shared and i == 0 else turn.images
        shown = [ImageChunk(image=Image.fromarray(sample.pictures[n].pixels)) for n in numbers]
        at = turn.at if shown and turn.at else 0
        texts = [TextChunk(text=turn.question[:at])] if at else []
        messages.append(UserMessage(content=[*texts, *shown, TextChunk(text=turn.question[at:])]))
        messages.append(AssistantMessage(content=turn.answer))
    last = messages.pop()
    assert isinstance(last, AssistantMessage)
    tokens = vendor.encode_chat_completion(ChatCompletionRequest(messages=messages)).tokens
    return [*tokens, *vendor.instruct_tokenizer.tokenizer.encode(str(last.content), bos=False, eos=False), EOS]


@pytest.mark.parametrize("name", families.FAMILIES)
@pytest.mark.parametrize("shared", [True, False])
def test_each_conversation_is_encoded_as_mistral_common_does(
    name: str, shared: bool, tokenizer: Tokenizer, vendor: MistralTokenizer
) -> None:
    for seed in range(8):
        sample = families.draw(Random(seed), name, shared=shared)
        done = encode(sample, tokenizer)
        for i, turns in enumerate(sample.conversations, 1):
            ids = [
                t
                for t, branch in zip(done.ids, done.branch, strict=True)
                if branch in ((0, i) if sample.shared else (0,))
            ]
            assert ids == by_vendor(vendor, sample, turns)


def test_targets_are_the_answers_and_their_ends(tokenizer: Tokenizer) -> None:
    for name in families.FAMILIES:
        sample = families.draw(Random(3), name)
        batch = collate([sample], tokenizer)
        wanted = torch.roll(batch.ids, -1, 1)[batch.target].tolist()
        answers = [turn.answer for turns in sample.conversations for turn in turns if turn.learned]
        assert wanted == [token for answer in answers for token in (*tokenizer.encode(answer), EOS)]


def test_a_branch_sees_the_pictures_and_itself_only(twin: Twin, tokenizer: Tokenizer) -> None:
    """The loss of conversations that share their pictures is the mean of what each costs alone."""
    sample = families.draw(Random(11), "scene")
    whole = collate([sample], tokenizer)
    together = losses(twin, whole, auxiliary=False).answers
    alone = []
    for turns in sample.conversations:
        batch = collate([Sample("scene", sample.pictures, (turns,))], tokenizer)
        alone.append((losses(twin, batch, auxiliary=False).answers, int(batch.target.sum())))
    mean = sum(loss * n for loss, n in alone) / sum(n for _, n in alone)
    assert torch.allclose(together, torch.as_tensor(mean), atol=1e-4)


def test_padding_is_seen_by_no_token(tokenizer: Tokenizer) -> None:
    samples = [families.draw(Random(seed), "talk") for seed in range(4)]
    batch = collate(samples, tokenizer)
    every = torch.arange(batch.ids.shape[1])
    seen = mask(batch.branch, every[None], every)[:, 0] == 0
    padded = batch.ids == PAD
    assert padded.any()
    assert not (seen & padded[:, None, :] & ~padded[:, :, None]).any()


def test_every_text_of_the_world_survives_the_tokenizer(tokenizer: Tokenizer) -> None:
    for text in ("Ünïcode ✓ 漢字", "<h1>Login</h1>\n", "  two  spaces", "At step 40."):
        assert tokenizer.decode(list(tokenizer.encode(text))) == text
    for name in families.FAMILIES:
        for turns in families.draw(Random(1), name).conversations:
            for turn in turns:
                assert tokenizer.decode(list(tokenizer.encode(turn.answer))) == turn.answer
