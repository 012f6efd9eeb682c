"""Generation of an answer: scheduling, prefix cache, sampling, drafting, constraints, text."""
