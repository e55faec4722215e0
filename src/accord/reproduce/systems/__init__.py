"""The reproductions, one module each: `CLAIM`, and `ARMS`, a function from a seed to measures for each arm that it names."""
