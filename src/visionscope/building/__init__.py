"""Networks made from others."""
