"""How the weights of a linear layer are stored; the numbers are those of kernel.h."""

PLAIN, FP8, INT4, INT8 = 0, 1, 4, 8
