"""What the diagnostics that take second derivatives share: mini-batches, words on parameters."""
