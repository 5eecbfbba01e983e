"""Plans: which stages a run, a study or an evaluation needs, with their keys. Imports no torch."""
