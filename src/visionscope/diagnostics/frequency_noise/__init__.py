"""Accuracy under noise of one band of spatial frequencies."""
