"""vLLM as an engine: its command line, its process, its log."""
