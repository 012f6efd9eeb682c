"""What is asked about the drawn pictures, and the one right answer to each question. Draws nothing."""
