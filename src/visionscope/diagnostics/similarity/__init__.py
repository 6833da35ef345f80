"""How alike the representations at two points are."""
