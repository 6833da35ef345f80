"""Images: sources, frozen samples, the embedded shapes and textures."""
