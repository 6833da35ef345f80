"""What can stand in the place of attention: one dataclass per mixer, one registry, and the slot that takes them."""
