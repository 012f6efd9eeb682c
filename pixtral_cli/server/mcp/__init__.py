"""`pixtral mcp`: a Model Context Protocol server, by which an agent without eyes borrows a vision model's."""
