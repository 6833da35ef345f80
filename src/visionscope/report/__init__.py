"""Figures and the page."""

import importlib
import importlib.util
import os
import sys
from pathlib import Path


def _import_matplotlib() -> None:
    """Imports matplotlib as it comes, for it reads a file `matplotlibrc` of the working directory before any other.

    It may be broken, or a pipe. Who wants it for figures of their own imports matplotlib first.
    """
    found = importlib.util.find_spec("matplotlib")
    if "matplotlib" in sys.modules or found is None or found.origin is None:
        return
    here = os.open(".", os.O_PATH | os.O_DIRECTORY)
    try:
        os.chdir(Path(found.origin).parent / "mpl-data")
        importlib.import_module("matplotlib")
    finally:
        os.fchdir(here)
        os.close(here)


_import_matplotlib()
