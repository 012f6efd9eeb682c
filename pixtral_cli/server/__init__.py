"""The OpenAI-shaped API and the page over one engine."""
