"""Whether a network goes by shape or by texture."""
