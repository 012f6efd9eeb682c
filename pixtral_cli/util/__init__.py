"""General utilities: sanitising text, downloads, threads, locks, caches. Nothing here knows of models or conversations."""
