"""Start from other weights: another vocabulary (rows matched by the tokens' bytes), more layers, a wider vision encoder.

A grown model computes what the smaller one did: new layers add nothing and new units are not yet listened to.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from demo.tokenizer import SPECIALS
from demo.twin import Twin


def adopt(twin: Twin, weights: Mapping[str, Tensor], old: Sequence[bytes], new: Sequence[bytes]) -> None:
    """Fill `twin` from `weights` (twin layout). `old` and `new` are the ordinary tokens' bytes in the order of their ids."""
    for name, parameter in twin.named_parameters():
        given = weights.get(name)
        if name == "tok_embeddings.weight":
            assert given is not None
            parameter.data = rows_by_bytes(given, old, new)
        elif given is not None:
            widen(name, parameter.data, given.to(parameter.dtype))
        elif name.endswith(("wo.weight", "w2.weight")):
            parameter.data.zero_()


def widen(name: str, into: Tensor, given: Tensor) -> None:
    """Copy `given` into the leading corner of `into`.

    What is new writes nothing (wo, w2, patch_conv) and the norms, over more elements now, still give the old ones their scale.
    """
    if name.startswith("aux_") and into.shape != given.shape:
        return
    if name.endswith(("wo.weight", "w2.weight", "patch_conv.weight")):
        into.zero_()
    if into.ndim == 1 and into.shape != given.shape:
        given = given * (len(given) / len(into)) ** 0.5
    into[tuple(slice(0, n) for n in given.shape)] = given


def rows_by_bytes(given: Tensor, old: Sequence[bytes], new: Sequence[bytes]) -> Tensor:
    """Embedding rows for the new vocabulary: the old row of the same bytes, else the mean over the longest old pieces."""
    place = {token: SPECIALS + i for i, token in enumerate(old)}
    rows = [given[i] for i in range(SPECIALS)]
    for token in new:
        pieces = [place[token]] if token in place else _pieces(token, place)
        rows.append(given[pieces].mean(0))
    return torch.stack(rows).float()


def _pieces(token: bytes, place: Mapping[bytes, int]) -> list[int]:
    """Greedy cover of the token by known ones."""
    found = []
    while token:
        n = next(n for n in range(len(token), 0, -1) if token[:n] in place)
        found.append(place[token[:n]])
        token = token[n:]
    return found
