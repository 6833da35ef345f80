"""At how many points of each kind a quantity falls or rises, in one sentence that can be read at a glance."""

from collections.abc import Mapping, Sequence

from visionscope.core.finding import MOST_WORDS, NO_CLEAR_CHANGE, joined
from visionscope.diagnostics.changes.results import LEAST_PERCENT

Counted = tuple[str, Mapping[str, int], bool]
"""What a kind is called, its points by verdict, and whether none of them moves at all."""

BY_LESS = f"by less than {LEAST_PERCENT} %"
_UNCLEAR = "does not clearly change"
_MIXED = "is mixed"
_UNCHANGED = "stays exactly the same"
_UNTOLD = "is unknown"
_PLAIN = {"falls": "lowers", "rises": "raises"}


def headline(words: str, kinds: Sequence[Counted], name: str) -> str:
    """'the feature-map variance rises at 9 of 12 self-attention points and all 12 MLP points'.

    Every kind is in it, also one of which nothing is known. The tallies beside a kind's main direction, then the counts
    are left to the detail where the sentence would become too long.

    Args:
        words: what the quantity is called.
        kinds: of the network's branches.
        name: of the model, which the sentence will begin with.
    """
    room = MOST_WORDS - len(f"In {name},".split())
    for counts, asides, every in ((True, True, True), (True, False, True), (True, False, False), (False, False, False)):
        said = f"{words} {_clauses(kinds, counts=counts, asides=asides, every=every)}"
        if len(said.split()) <= room:
            break
    return said


def _clauses(kinds: Sequence[Counted], *, counts: bool, asides: bool, every: bool) -> str:
    """A clause per verb; `every` kind is followed by the word 'points', or the last one of a clause alone."""
    by_verb: dict[str, list[str]] = {}
    for words, tally, unchanged in kinds:
        moved = _moved(tally)
        total = sum(moved.values())
        verb = _verb(tally, unchanged=unchanged)
        most = moved.get(verb.removesuffix(f" {BY_LESS}"), total)
        quantifier = _of(most, total) if counts else "most" if most < total else "all"
        if verb == _MIXED:
            quantifier = str(total) if counts else ""
        said = f"{quantifier} {words}" if total and quantifier else words
        said += " point" if every and total == 1 and counts else " points" if every else ""
        others = [_aside(name, count, tally) for name, count in moved.items() if count and name not in verb]
        if asides and others and not unchanged:
            said += f" ({', '.join(others)})"
        short = "is unclear" if verb == _UNCLEAR and not counts else verb
        by_verb.setdefault(short, []).append(said)
    clauses = [f"{verb} at {joined(said)}{'' if every else ' points'}" for verb, said in by_verb.items()]
    return joined(clauses)


def _aside(direction: str, count: int, tally: Mapping[str, int]) -> str:
    if direction == _UNCLEAR:
        return f"unclear at {count}"
    return f"{direction} at {count}{'' if tally[_PLAIN[direction]] else f' {BY_LESS}'}"


def _moved(tally: Mapping[str, int]) -> dict[str, int]:
    """The points by direction, small changes included."""
    down, up = (sum(count for name, count in tally.items() if name.startswith(verb)) for verb in ("lowers", "raises"))
    return {"falls": down, "rises": up, _UNCLEAR: tally[NO_CLEAR_CHANGE]}


def _verb(tally: Mapping[str, int], *, unchanged: bool) -> str:
    moved = _moved(tally)
    total = sum(moved.values())
    if not total:
        return _UNTOLD
    if unchanged:
        return _UNCHANGED
    verb = next((name for name, count in moved.items() if 2 * count > total), _MIXED)
    return f"{verb} {BY_LESS}" if verb in _PLAIN and not tally[_PLAIN[verb]] else verb


def _of(count: int, total: int) -> str:
    if count < total:
        return f"{count} of {total}"
    return {1: "the only", 2: "both"}.get(total, f"all {total}")
