"""What stages read and write: models, corpora, tasks, scores, facts and results."""
