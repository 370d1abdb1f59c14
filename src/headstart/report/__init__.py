"""What a run's files say, in tables and figures."""
