"""Which spatial frequencies the feature maps hold."""
