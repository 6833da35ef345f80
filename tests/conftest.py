"""One hypothesis profile for all tests; its place puts tests/ on the import path, for tests/reference."""

import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=25)
settings.load_profile("fixed")


@pytest.fixture(scope="session")
def warm_server() -> None:
    """What visionscope itself starts processes for, such as corruptions, comes from the tests' server, too."""
    from reference.warm import start_server  # imports multiprocessing, which few tests need

    start_server()
