"""What `pixtral models`, `sessions` and `templates` show."""
