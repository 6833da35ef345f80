"""The mixers. Every module in here is imported by the registry, and registers what it defines."""
