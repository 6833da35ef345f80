"""What each block changes in a quantity of the feature maps: counted, compared and put in words."""
