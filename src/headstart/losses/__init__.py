"""Losses: elementwise functions of arrays, each with its source."""

from headstart.losses import conservative, flow, goals, policy, preferences, skills, tasks, value

__all__ = ["conservative", "flow", "goals", "policy", "preferences", "skills", "tasks", "value"]
