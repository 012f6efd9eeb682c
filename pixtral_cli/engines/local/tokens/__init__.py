"""Text and images to tokens, tokens to bytes."""
