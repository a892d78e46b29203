"""GAN algorithms as named tuples of pure functions."""
