"""Which of several models is the better one, without an environment: criteria, a ranking, and how sure it is."""
