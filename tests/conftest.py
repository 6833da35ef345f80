"""One hypothesis profile for all tests; its place puts tests/ on the import path, for tests/reference."""

from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=25)
settings.load_profile("fixed")
