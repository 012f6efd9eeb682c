"""What you type: the command tree and its flags."""
