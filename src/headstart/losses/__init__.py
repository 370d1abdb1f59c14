"""Losses: elementwise functions of arrays, each with its source."""

from headstart.losses import conservative, flow, policy, value

__all__ = ["conservative", "flow", "policy", "value"]
