"""OpenAI's request and response objects over an engine."""
