"""Long tests by chance: kills, damaged files, hours of training. Each is a program of its own."""
