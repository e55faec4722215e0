"""Invariants over a matrix of models, templates, tokenisers, precisions, adapters, devices and ranks.

A spread of it runs with the other tests; all of it by `make conformance`, which also writes what docs/compatibility.md shows.
"""
