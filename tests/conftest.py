"""One hypothesis profile for all tests; its place puts tests/ on the import path, for tests/reference."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=25)
settings.load_profile("fixed")


@pytest.fixture(scope="session", autouse=True)
def _undrawn() -> Iterator[None]:
    from reference.drawing import undrawn  # imports matplotlib, which no collecting needs

    with undrawn():
        yield


@pytest.fixture
def drawn() -> Iterator[None]:
    """Figures for papers are drawn: for tests that look at them."""
    from reference import drawing

    with drawing.drawn():
        yield


@pytest.fixture(scope="session")
def warm_server() -> None:
    """What visionscope itself starts processes for, such as corruptions, comes from the tests' server, too."""
    from reference.warm import start_server  # imports multiprocessing, which few tests need

    start_server()
