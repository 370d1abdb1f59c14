"""Algorithms, one paper family a file."""
