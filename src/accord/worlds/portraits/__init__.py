"""A small world of portraits."""
