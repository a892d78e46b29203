"""The same training steps in PyTorch, for comparison."""
