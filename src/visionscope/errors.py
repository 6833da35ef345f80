"""The exceptions that visionscope raises on purpose; the command line turns each into one line and exit code 2."""

import difflib
from collections.abc import Iterable


class VisionscopeError(Exception):
    """Base of every error that a user can act on."""


class ConfigError(VisionscopeError):
    """A parameter, key or command-line value breaks its rule."""


class TraceError(VisionscopeError):
    """A model can't be traced, or a pass did something else than its trace said."""


class DataError(VisionscopeError):
    """A data source, an image or a label can't be used."""


class StoreError(VisionscopeError):
    """A run folder can't be read or written."""


class NotApplicableError(VisionscopeError):
    """A diagnostic has nothing to ask of this model or these data; the others go on without it."""


class NondeterminismError(VisionscopeError):
    """Two passes over the same sample disagree."""


def nearest(value: str, choices: Iterable[str], *, cutoff: float = 0.5) -> str:
    """Returns ' Did you mean X?' for the closest choice, or the list of choices when none is close.

    Args:
        value: what was given.
        choices: what would have been valid.
        cutoff: how alike they must be, from 0 to 1 (equal).
    """
    names = sorted(set(choices))
    close = difflib.get_close_matches(value, names, n=1, cutoff=cutoff)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Choose from: {', '.join(names)}." if len(names) <= 30 else ""
