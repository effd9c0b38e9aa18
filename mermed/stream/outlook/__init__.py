"""What a run will read and need, from the manifest alone."""
