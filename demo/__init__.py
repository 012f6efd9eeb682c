"""How the demo checkpoint is made and measured: drawing, questions, tokenizer, training, export, evaluation. Not shipped."""
