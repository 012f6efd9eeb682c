"""The pictures the demo model learns from. Knows what is drawn where; leaves what is asked about it to `questions`."""
