"""Checkpoints on disk to weights in memory, whole or quantized."""
