"""The network: transformer blocks, attention, rotary positions, KV cache, decoder, vision encoder."""
