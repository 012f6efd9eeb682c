"""HTTP around the application: sockets, who may come in, bodies, streams, errors."""
