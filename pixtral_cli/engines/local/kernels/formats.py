"""How the weights of a linear layer are stored, and of how many activations the kernels multiply with them as stored."""

PLAIN, FP8, INT4, INT8 = 0, 1, 4, 8  # as in kernel.h
MAX_ROWS = 32  # of activations, up to which a product takes as long as reading the weights does
