"""Models: loading any, and our own small ones."""
