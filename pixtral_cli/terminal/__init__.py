"""What you see: rendering, the REPL, previews. Knows engines only by their seam."""
