"""Cut a model along its axes: layers, FFN neurons, heads, hidden size and embeddings."""
