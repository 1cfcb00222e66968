"""Reading each format of weights files; `weights.read` chooses among them."""
