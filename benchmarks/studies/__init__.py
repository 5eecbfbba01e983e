"""Studies of scores that need whole runs."""
