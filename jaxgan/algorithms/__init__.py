"""GANs as named tuples of pure functions."""
