"""`pixtral ask`: one question, one answer."""
