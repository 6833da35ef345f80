"""How far, how widely and how differently the heads of self-attention look."""
