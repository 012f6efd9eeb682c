"""From a prompt to an answer: scheduling, prefix cache, sampling, drafting, constraints, text."""
