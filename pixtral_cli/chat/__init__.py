"""What is said: messages, images, sampling, the engine's seam, conversations and sessions. Knows no model and no screen."""
