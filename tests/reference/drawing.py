"""Figures for papers: most of a page's time, so that only the tests that look at them have them drawn."""

import contextlib
from collections.abc import Iterator

import pytest

from visionscope.report.files import write_figure  # the real one: imported before any test takes it away

_PLACE = "visionscope.report.files.write_figure"


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """While it lasts, pages are written without figures for papers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_PLACE, lambda *given: None)
        yield


@contextlib.contextmanager
def drawn() -> Iterator[None]:
    """While it lasts, they are written again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_PLACE, write_figure)
        yield
