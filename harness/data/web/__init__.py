"""Corpora of the web's size: from published crawls to a data folder, by the pipelines of datatrove."""
