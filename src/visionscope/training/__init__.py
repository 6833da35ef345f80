"""Training small networks."""
