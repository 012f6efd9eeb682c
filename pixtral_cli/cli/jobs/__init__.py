"""The work of the commands with many options, from their values to the end. Imported when a command runs."""
