"""Figures of the paper over networks that others trained: nothing is trained, and the unit is a network."""
