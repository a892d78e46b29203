"""States of a run on the disk."""
