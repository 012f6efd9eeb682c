"""The storage formats of weights, and limits that the CPU and GPU kernels share."""

PLAIN, FP8, INT4, INT8 = 0, 1, 4, 8  # as in kernel.h
MAX_ROWS = 32  # activations up to which a product takes no longer than reading the weights
MAX_HEADS_PER_GROUP = 16  # query heads that share keys and values, in the GPU's attention of a decode step
ALIGNMENT = 16  # bytes; addresses are passed to the GPU's kernels in this unit
