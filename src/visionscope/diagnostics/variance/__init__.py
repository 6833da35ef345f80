"""How much the feature maps vary over space."""
