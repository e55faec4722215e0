"""Rounds of building feedback and fitting to it: `trainer` is what all share."""
