"""What each kind of branch does to a quantity, for the overview."""

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import NO_CLEAR_CHANGE
from visionscope.core.grouping import rows_of
from visionscope.core.measure import Measure, measure
from visionscope.core.subject import KIND_WORDS
from visionscope.diagnostics.changes.results import BRANCHES


def change_measures(tables: Tables, words: str) -> list[Measure]:
    """The median change of each kind of branch of each model, with what most of its points do.

    Args:
        tables: with `kind_changes` as the summary.
        words: what changes.
    """
    rows = rows_of(tables, "summary")
    return [
        measure(
            row,
            f"{words} after {kind}",
            "median",
            ends=("low", "high"),
            unit="%",
            count="points",
            of="points",
            direction=_direction(row),
            by_interval=_direction(row) != "mixed",  # whose median is of blocks that do opposite things
            meaning=f"median change of {words} from before to after {KIND_WORDS[kind]} branches",
        )
        for kind in BRANCHES
        for row in rows
        if row["kind"] == kind and row["points"]
    ]


def _direction(row: dict[str, int]) -> str:
    """What more than half of the points do."""
    falls, rises = row["falls"] + row["falls_slightly"], row["rises"] + row["rises_slightly"]
    for name, count in (("lowers", falls), ("raises", rises), (NO_CLEAR_CHANGE, row["unclear"])):
        if 2 * count > row["points"]:
            return name
    return "mixed"
