"""The command line: the tree of commands and their options."""
