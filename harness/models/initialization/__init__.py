"""Initial weights for a teacher that is trained here from random weights."""
