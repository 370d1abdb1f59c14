"""Experience, from files to batches."""
