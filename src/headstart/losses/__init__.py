"""Losses: elementwise functions of arrays, each with its source."""

from headstart.losses import conservative, policy, value

__all__ = ["conservative", "policy", "value"]
