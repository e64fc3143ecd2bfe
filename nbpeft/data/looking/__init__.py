"""A look at data before any run: figures, lengths, rows token by token."""
