"""Messages, conversations, templates, code blocks, and the protocol of engines."""
