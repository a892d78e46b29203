"""The same steps in PyTorch, to compare with."""
