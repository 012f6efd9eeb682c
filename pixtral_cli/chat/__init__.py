"""What is said: messages, conversations, templates, code blocks, and the protocol of engines."""
