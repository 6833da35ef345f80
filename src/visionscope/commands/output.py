"""Where commands write."""

from __future__ import annotations

import sys

from rich.console import Console

_WIDE = 250


def wide_console() -> Console:
    """A console as wide as the terminal; wide enough for any table where the output is no terminal."""
    return Console() if sys.stdout.isatty() else Console(width=_WIDE)
