"""What several stages read and write: models, data, scores and results."""
