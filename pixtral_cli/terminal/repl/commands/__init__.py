"""The slash commands of the REPL."""
