"""The chat completions API: OpenAI's and La Plateforme's requests and replies."""
