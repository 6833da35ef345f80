"""Pure tensor functions: no model, no hook, no file."""
