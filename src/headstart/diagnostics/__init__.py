"""What a model's values and actions are worth, before they are trusted: findings with their evidence.

The function is `headstart.diagnose`; this room has another name so that the two cannot be confused on import.
"""
