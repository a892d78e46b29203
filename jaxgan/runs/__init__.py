"""What a run is: its flags, its folder, what it reports."""
