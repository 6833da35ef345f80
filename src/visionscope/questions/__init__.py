"""A function for each diagnostic, with its parameters and their defaults written out, as notebooks call them."""
