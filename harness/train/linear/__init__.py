"""Linear models on TF-IDF or static embeddings: the baselines."""
