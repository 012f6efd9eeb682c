"""Other APIs over the same engine: each module translates one API's requests to chat completion requests, and writes its replies."""
