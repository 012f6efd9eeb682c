"""The pictures that the demo model learns from, each with what is drawn where. Their questions are in `questions`."""
