"""A run's scores and predictions in the forms that other programs read; plain data and text, no files."""
