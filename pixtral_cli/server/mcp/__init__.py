"""`pixtral mcp`: a Model Context Protocol server that lets agents ask a vision model about pictures."""
