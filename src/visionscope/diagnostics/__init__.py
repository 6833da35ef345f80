"""One file, one diagnostic."""
