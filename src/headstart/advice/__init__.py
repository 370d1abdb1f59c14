"""What to do with data: looks at it and recommends recipes, by a table of rules."""
