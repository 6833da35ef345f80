"""The loss around a network."""
