"""How well a network fits its training images, against its error on test images."""
