"""Learning from a policy's own samples: `trainer` and `credit` are what all share, every other file is a method."""
