"""Networks: Linen modules and the functions that wrap them as a `Network`."""
