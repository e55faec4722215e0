"""The reproductions, one module each: `CLAIM`, and `ARMS`, a function from a seed to measures for each arm that it names;
perhaps `TUNING`, further arms that are there for `accord reproduce NAME --arms … --seeds 1000-1005` alone."""
