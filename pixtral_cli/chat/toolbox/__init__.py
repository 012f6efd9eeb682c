"""Tools that this process runs for a model: the loop of calls and results, Python functions, MCP servers, crop and zoom."""
