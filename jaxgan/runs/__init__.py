"""Runs: their flags, run folders, logs, images and reports."""
