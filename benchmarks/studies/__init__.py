"""Studies of scores, which need whole runs."""
