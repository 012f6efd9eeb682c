"""The cut tokenizer: the vendor's tekken file reduced to the tokens that the demo's world uses. Trains nothing.

python -m demo.tokenizer FOLDER
"""

import argparse
import base64
import functools
import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import mistral_common
import regex

from demo import families
from demo.drawing import words
from demo.drawing.canvas import LIMIT
from demo.drawing.palette import NAMES
from demo.drawing.scenes import SHAPES
from demo.questions import talk

SOURCE = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
COMMON_ENOUGH = 25  # times in the corpus
SPECIALS = 20  # control tokens: [INST] 3, [/INST] 4, [IMG] 10, [IMG_BREAK] 12, [IMG_END] 13 keep their ids
BOS, EOS, INST, INST_END, IMG, PAD, IMG_BREAK, IMG_END = 1, 2, 3, 4, 10, 11, 12, 13


class Merges:
    """Byte-pair merging by rank, remembering which tokens it passed through."""

    def __init__(self, ranks: dict[bytes, int]) -> None:
        self.ranks = ranks
        self.used = set(range(256))

    def learn(self, word: bytes) -> None:
        parts = [bytes([byte]) for byte in word]
        while len(parts) > 1:
            rank, i = min((self.ranks.get(a + b, 1 << 30), i) for i, (a, b) in enumerate(pairwise(parts)))
            if rank == 1 << 30:
                return
            self.used.add(rank)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]


def _read() -> frozenset[str]:
    """Words that stand in pictures. They stay in pieces, so that reading is by letters and works for words never seen."""
    labels = [label for group in words.LABELS for label in group]
    every = (*words.COMMON, *words.INTERFACE, *labels, *words.TITLES, *words.CURVES, *words.FIRST, *words.SECOND)
    return frozenset(word.lower() for word in every) - {*NAMES, *SHAPES, "light", "name", "house"}


def corpus(samples: int) -> Iterator[str]:
    """Texts of the whole world: questions and answers of every family with pictures, and what it says of itself."""
    rng = Random(1)
    for name in families.FAMILIES:
        for _ in range(samples if name != "talk" else 0):
            for conversation in families.draw(rng, name).conversations:
                for turn in conversation:
                    yield f"{turn.question}\n{turn.answer}"
    for questions, answer in talk.KNOWN:
        yield from (*questions, answer) * 30
    yield from (talk.CANNOT, talk.UNSEEN, *talk.SYSTEMS) * 30
    yield from (*talk.UNSEEN_QUESTIONS, *talk.UNSEEN_CHART, *talk.OUTSIDE) * 8


def cut(folder: Path, samples: int = 900) -> int:
    """Write `folder`/tekken.json from so many samples a family; the number of its tokens, special ones included."""
    source: dict[str, Any] = json.loads(SOURCE.read_text())
    ranked = source["vocab"][: source["config"]["default_vocab_size"] - source["config"]["default_num_special_tokens"]]
    tokens = [base64.b64decode(entry["token_bytes"]) for entry in ranked]
    pattern = regex.compile(source["config"]["pattern"])
    counts = Counter(word for text in corpus(samples) for word in pattern.findall(text))
    read = _read()
    merges = Merges({token: i for i, token in enumerate(tokens)})
    for word, seen in counts.items():
        if seen >= COMMON_ENOUGH and regex.sub(r"\P{L}", "", word).lower() not in read:
            merges.learn(word.encode())
    kept = [tokens[i] for i in sorted(merges.used)]
    source["vocab"] = [_entry(rank, token) for rank, token in enumerate(kept)]
    total = len(kept) + SPECIALS
    source["config"] |= {
        "num_vocab_tokens": len(kept),
        "default_vocab_size": total,
        "default_num_special_tokens": SPECIALS,
    }
    source["image"] |= {"max_image_size": LIMIT}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tekken.json").write_text(json.dumps(source))
    return total


def _entry(rank: int, token: bytes) -> dict[str, Any]:
    try:
        text: str | None = token.decode()
    except UnicodeDecodeError:
        text = None
    return {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": text}


class Tokenizer:
    """Text to ids and back through mistral_common's own tekken, with a memory for the phrases that come again and again."""

    def __init__(self, folder: Path) -> None:
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer

        self._tekken = Tekkenizer.from_file(folder / "tekken.json")
        self.size: int = self._tekken.n_words
        self.encode = functools.lru_cache(maxsize=100_000)(self._encode)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tekken.encode(text, bos=False, eos=False))

    def decode(self, ids: list[int]) -> str:
        return str(self._tekken.decode(ids))


def token_bytes(folder: Path) -> list[bytes]:
    """The bytes of every ordinary token in the order of the ids; special tokens come before them."""
    file = json.loads((folder / "tekken.json").read_text())
    kept = file["config"]["default_vocab_size"] - file["config"]["default_num_special_tokens"]
    return [base64.b64decode(entry["token_bytes"]) for entry in file["vocab"][:kept]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    print(f"{cut(parser.parse_args().folder)} tokens")


if __name__ == "__main__":
    main()
