"""Tools that are run for a model: the rounds of calls, functions of Python files, MCP servers, crop and zoom."""
