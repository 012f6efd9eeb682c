"""How the weights of a linear layer are stored, and what the kernels are compiled for."""

PLAIN, FP8, INT4, INT8 = 0, 1, 4, 8  # as in kernel.h
MAX_ROWS = 32  # of activations, up to which a product takes as long as reading the weights does
MAX_HEADS_PER_GROUP = 16  # query heads that share keys and values, in the GPU's attention of a decode step
ALIGNMENT = 16  # bytes: the unit of the addresses that the GPU's kernels are given
