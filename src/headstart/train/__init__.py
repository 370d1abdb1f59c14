"""Training loops and evaluation; they know no algorithm and no artifact."""
