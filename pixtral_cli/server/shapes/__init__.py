"""Other APIs over the same engine: their requests are translated to chat completion requests, and replies written in their form."""
