"""The training loop `fit`, its compiled step and the dry run."""
