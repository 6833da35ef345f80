"""How alike the tokens of one map are."""
