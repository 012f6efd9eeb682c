"""Small general tools: text made harmless, downloads, threads, locks, caches. Imports no room of this project above it."""
