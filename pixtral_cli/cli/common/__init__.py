"""The options that several commands share, and the engine that settings choose."""
