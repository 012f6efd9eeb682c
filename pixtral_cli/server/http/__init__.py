"""HTTP around the application: sockets, access rules, bodies, streams, errors."""
