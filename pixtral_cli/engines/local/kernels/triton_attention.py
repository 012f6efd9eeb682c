"""Triton kernels for NVIDIA GPUs: attention of one new position of each of several sequences to their own KV caches.

Three launches for each layer, whatever the number of sequences: append keys and values, attend to stretches of
positions, merge the stretches (split-KV attention as in arXiv 2311.01282, over grouped heads). The kernels read the
caches in place, by their addresses. A sequence's stretches and the order of their sums do not depend on the other
sequences of the step. Imported only where Triton is installed; see `gpu.py`.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from pixtral_cli.engines.local.kernels.formats import ALIGNMENT, MAX_HEADS_PER_GROUP

STRETCH, BLOCK = 512, 64  # positions that a program attends to, in all and at a time
MERGE = 16  # stretches that are merged at a time

_MAX_HEADS, _MERGE = tl.constexpr(MAX_HEADS_PER_GROUP), tl.constexpr(MERGE)


@triton.jit
def _append(
    key, value, origin, places, capacities, lengths,
    GROUPS: tl.constexpr, D: tl.constexpr, UNIT: tl.constexpr,
):  # fmt: skip
    """Write keys and values (B, G, D) as the last of `lengths` positions. Program (b, g) writes one sequence's group."""
    sequence, group = tl.program_id(0), tl.program_id(1)
    dim = tl.arange(0, D)
    capacity, last = tl.load(capacities + sequence), tl.load(lengths + sequence) - 1
    target = origin + tl.load(places + sequence) * UNIT + (group * capacity + last) * D + dim
    source = (sequence * GROUPS + group) * D + dim
    tl.store(target, tl.load(key + source))
    tl.store(target + GROUPS * capacity * D, tl.load(value + source))


@triton.jit
def _attend(
    query, origin, places, capacities, lengths, sums, weights, scale,
    GROUPS: tl.constexpr, HEADS_PER_GROUP: tl.constexpr, D: tl.constexpr, STRETCH: tl.constexpr, BLOCK: tl.constexpr,
    UNIT: tl.constexpr,
):  # fmt: skip
    """Program (b, g, s): the heads of group g of sequence b over stretch s of its positions.

    Writes the weighted mean of the values to sums (B, H, stretches, D) and the logarithm (base 2) of the weights' sum
    to weights (B, H, stretches), both float32.
    """
    sequence, group, stretch = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length, begin = tl.load(lengths + sequence), stretch * STRETCH
    if begin < length:
        dtype: tl.constexpr = query.dtype.element_ty
        head, dim, step = tl.arange(0, _MAX_HEADS), tl.arange(0, D), tl.arange(0, BLOCK)
        head_valid = head < HEADS_PER_GROUP
        row = (sequence * GROUPS + group) * HEADS_PER_GROUP + head
        capacity = tl.load(capacities + sequence)
        keys = origin + tl.load(places + sequence) * UNIT + group * capacity * D
        values = keys + GROUPS * capacity * D
        q = tl.load(query + row[:, None] * D + dim[None, :], mask=head_valid[:, None], other=0.0)
        top = tl.full((_MAX_HEADS,), float("-inf"), tl.float32)
        weight, mean = tl.zeros((_MAX_HEADS,), tl.float32), tl.zeros((_MAX_HEADS, D), tl.float32)
        for start in range(begin, tl.minimum(begin + STRETCH, length), BLOCK):
            valid = start + step < length
            place = (start + step)[:, None] * D + dim[None, :]
            k = tl.load(keys + place, mask=valid[:, None], other=0.0)
            scores = tl.where(valid[None, :], tl.dot(q, tl.trans(k)) * scale, float("-inf"))
            higher = tl.maximum(top, tl.max(scores, 1))
            shares, fading = tl.exp2(scores - higher[:, None]), tl.exp2(top - higher)
            v = tl.load(values + place, mask=valid[:, None], other=0.0)
            mean = tl.dot(shares.to(dtype), v, mean * fading[:, None])
            weight, top = weight * fading + tl.sum(shares, 1), higher
        out = row.to(tl.int64) * tl.num_programs(2) + stretch
        tl.store(sums + out[:, None] * D + dim[None, :], mean / weight[:, None], mask=head_valid[:, None])
        tl.store(weights + out, top + tl.log2(weight), mask=head_valid)


@triton.jit(do_not_specialize=["stretches"])
def _merge(
    sums, weights, lengths, out, stretches,
    HEADS: tl.constexpr, D: tl.constexpr, STRETCH: tl.constexpr,
):  # fmt: skip
    """Program (b, h): the mean over the stretches of one head of one sequence, in the order of the stretches."""
    sequence, head = tl.program_id(0), tl.program_id(1)
    row = sequence * HEADS + head
    count = tl.cdiv(tl.load(lengths + sequence), STRETCH)
    each, dim = tl.arange(0, _MERGE), tl.arange(0, D)
    start_of_row = row.to(tl.int64) * stretches
    top = tl.full((), float("-inf"), tl.float32)
    weight, mean = tl.zeros((), tl.float32), tl.zeros((D,), tl.float32)
    for start in range(0, count, _MERGE):
        valid = start + each < count
        place = start_of_row + start + each
        logs = tl.load(weights + place, mask=valid, other=float("-inf"))
        parts = tl.load(sums + place[:, None] * D + dim[None, :], mask=valid[:, None], other=0.0)
        higher = tl.maximum(top, tl.max(logs, 0))
        shares, fading = tl.exp2(logs - higher), tl.exp2(top - higher)
        mean = mean * fading + tl.sum(parts * shares[:, None], 0)
        weight, top = weight * fading + tl.sum(shares, 0), higher
    tl.store(out + row * D + dim, (mean / weight).to(out.dtype.element_ty))


def attend(
    query: Tensor, key: Tensor, value: Tensor, places: Tensor, capacities: Tensor, lengths: Tensor, longest: int
) -> Tensor:
    """Append a position to each of B caches and attend to all of it: query, result (B, H, D), key, value (B, G, D).

    A cache is (2, G, capacity, D) in the query's dtype, at `places` times 16 bytes; `lengths` (the new position
    included) are at most `longest`. All three are int64 (B,) on the GPU.
    """
    (count, heads, size), groups = query.shape, key.shape[1]
    stretches = triton.cdiv(longest, STRETCH)
    origin = query.new_empty(0)  # its address is 0: offsets from it are addresses
    unit = ALIGNMENT // query.itemsize
    sums = query.new_empty(count, heads, stretches, size, dtype=torch.float32)
    weights = query.new_empty(count, heads, stretches, dtype=torch.float32)
    out = torch.empty(count, heads, size, device=query.device, dtype=query.dtype)
    _append[count, groups](
        key.contiguous(), value.contiguous(), origin, places, capacities, lengths, groups, size, unit
    )
    _attend[count, groups, stretches](
        query.contiguous(), origin, places, capacities, lengths, sums, weights, math.log2(math.e) / math.sqrt(size),
        groups, heads // groups, size, STRETCH, BLOCK, unit, num_warps=4, num_stages=2,
    )  # fmt: skip
    _merge[count, heads](sums, weights, lengths, out, stretches, heads, size, STRETCH)
    return out
