"""Who answers: the local engine, remote APIs, vLLM, and the resident process. Engines are handed values, never the config."""
