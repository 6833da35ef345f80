"""Accuracy under adversarial attacks."""
