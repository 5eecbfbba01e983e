"""Text in: corpora, tasks and batches, from a folder, the hub or the built-in languages."""
