"""The output of `pixtral models`, `sessions` and `templates`."""
