"""Networks: Linen modules, and functions that wrap them as a `Network`."""
