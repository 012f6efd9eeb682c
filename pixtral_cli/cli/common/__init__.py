"""What several commands share: options, and the way from settings to an engine."""
