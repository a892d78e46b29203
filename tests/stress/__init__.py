"""Long randomized tests: killed processes, damaged files, hours of training. Each is a separate program."""
