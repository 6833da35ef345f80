"""What JPEG compression does to the feature maps."""
