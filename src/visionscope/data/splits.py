"""Which split of a data source is meant, when sources call the same thing `val`, `valid` or `validation`."""

from collections.abc import Iterable, Sequence

from visionscope.errors import DataError, nearest

_FAMILIES = (
    ("train", "training"),
    ("validation", "val", "valid", "dev", "eval", "evaluation"),
    ("test", "testing"),
)
_WHOLE = "all"

EMBEDDED = {"train": 10_000, "val": 1_000, "test": 2_000, "conflict": 2_000}
"""The splits of embedded data and their numbers of images."""

SPLIT_NAMES = frozenset(name for family in _FAMILIES for name in family)


def choose_split(spec: str, available: Sequence[str], wanted: str | None, default: str) -> str:
    """Returns the available split that is meant.

    Args:
        spec: the data spec, for the error.
        available: the splits that the source has; empty for a source that isn't split.
        wanted: the split that the user named, or None.
        default: what to take when none was named; where `test` is missing, a validation split stands in.

    Returns:
        One of `available`, or `all` where there are none.

    Raises:
        DataError: when the source has no such split; the message lists those that it has.
    """
    if not available:
        if wanted not in (None, _WHOLE):
            raise DataError(f"data {spec!r} isn't divided into splits, so ':{wanted}' names nothing; leave it out")
        return _WHOLE
    for name in [wanted] if wanted else [default] + (["validation"] if default == "test" else []):
        for candidate in _same(name):
            if candidate in available:
                return candidate
    listed = ", ".join(available)
    if wanted:
        raise DataError(f"data {spec!r} has no split {wanted!r}, only: {listed}.{_hint(wanted, available)}")
    raise DataError(f"data {spec!r} has no {default} split; name one of: {listed} (as in {spec}:{available[0]})")


def check_embedded(name: str) -> str:
    """The split of embedded data of that name.

    Args:
        name: of a split, or `validation` or `valid`.

    Raises:
        DataError: when there is none.
    """
    split = "val" if name in ("validation", "valid") else name
    if split not in EMBEDDED:
        raise DataError(f"embedded data has no split {split!r}, only: {', '.join(EMBEDDED)}.{_hint(split, EMBEDDED)}")
    return split


def _same(name: str) -> tuple[str, ...]:
    """The name itself first, then its synonyms."""
    for family in _FAMILIES:
        if name in family:
            return (name, *(other for other in family if other != name))
    return (name,)


def _hint(wanted: str, available: Iterable[str]) -> str:
    hint = nearest(wanted, available)
    return hint if "mean" in hint else ""
