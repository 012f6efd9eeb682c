"""Our own compute kernels."""
