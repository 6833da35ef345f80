"""How far a network's confidence can be trusted."""
