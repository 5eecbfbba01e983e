"""A generated web corpus with planted duplicates and test sentences, and what is made of it."""
