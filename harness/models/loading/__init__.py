"""Read and write model folders: configuration, weights and tokenizer."""
