"""Environments: making, wrapping, seeding, and collecting experience from them."""
