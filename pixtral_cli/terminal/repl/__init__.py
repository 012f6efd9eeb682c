"""`pixtral chat`: the conversation in the terminal."""
