"""How right an answer is: metrics, checkable instructions, judges, intervals."""
