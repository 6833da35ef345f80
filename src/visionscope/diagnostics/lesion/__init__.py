"""Accuracy lost without one unit of a network."""
