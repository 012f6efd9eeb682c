"""The engines: local, remote APIs, vLLM, and the resident process. They are given values, never the config."""
