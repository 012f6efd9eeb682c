"""vLLM on several machines: who takes part, what each starts, how it is watched. docs/scale.md describes it for users."""
