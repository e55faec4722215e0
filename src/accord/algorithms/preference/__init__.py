"""Preference optimisation on given completions: `trainer` is what all share, every other file is a method."""
