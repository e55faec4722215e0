"""The reproductions, one module each: `CLAIM`, and `run(arm, seed)` which measures one arm."""
