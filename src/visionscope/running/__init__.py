"""Jobs, parts, resume."""
