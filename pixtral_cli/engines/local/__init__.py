"""The local engine: mistral_inference's model on this machine."""
