"""The training loop and its compiled step."""
