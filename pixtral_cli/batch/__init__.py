"""`pixtral batch`: rows in, one line of answer for each out."""
