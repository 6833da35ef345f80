"""How long the tokens are, and which stand out."""
