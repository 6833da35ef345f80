"""visionscope: how vision models work."""
