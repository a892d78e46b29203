"""Metrics of generated samples, as pure functions of arrays, and the networks they need."""
