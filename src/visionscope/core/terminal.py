"""Lines on a terminal, where names from outside neither steer it nor style it.

Names of classes, files and labels, keys and messages of others are text: never a control character, and what the
terminal's encoding lacks is escaped. No library is imported, so that a line can be told when none can be.
"""

import sys
from contextlib import suppress
from typing import TextIO

from visionscope.core.printable import printable


def escape_what_streams_lack() -> None:
    """Lets stdout and stderr escape characters that their encoding can't hold, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # what stands in their place in tests and notebooks may not do so
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def say(line: str) -> None:
    """Writes a line to stdout, at once.

    Args:
        line: any text; its spaces are kept.
    """
    _write(sys.stdout, line)


def tell(line: str) -> None:
    """Writes a line to stderr, at once.

    Args:
        line: any text; its spaces are kept.
    """
    _write(sys.stderr, line)


def interrupted(line: str) -> None:
    """Writes a line to stderr, below the `^C` that the terminal shows; in vain where that is gone.

    Args:
        line: any text.
    """
    with suppress(OSError, ValueError):
        _write(sys.stderr, "")
        tell(line)


def ask(question: str) -> bool:
    """Asks on stderr for a yes.

    Args:
        question: in one line.
    """
    sys.stderr.write(f"{_one_line(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _one_line(words: str) -> str:
    """As `printable`, but with all its spaces, which may align it with the line above."""
    return " ".join(map(printable, words.split(" ")))


def _write(stream: TextIO, line: str) -> None:
    stream.write(f"{_one_line(line)}\n")
    stream.flush()
