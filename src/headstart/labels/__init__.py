"""Rewards for data that has none, from little supervision: `label` with one method a module."""
