"""The OpenAI-shaped JSON that client and server share."""
