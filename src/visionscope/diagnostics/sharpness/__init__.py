"""How much the loss rises when the weights are changed."""
