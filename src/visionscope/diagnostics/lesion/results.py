"""What removals come to: changes of accuracy, early against late, one kind against another."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.grouping import rows_by_model
from visionscope.core.table import to_table, with_leading_of
from visionscope.diagnostics.lesion.question import Lesion
from visionscope.diagnostics.outcomes.rows import POINTS, ComparisonRow
from visionscope.diagnostics.outcomes.statistics import Measured, comparison_row, measured_models, summary
from visionscope.numerics.paired import Values, holm, paired_means
from visionscope.numerics.ranks import rank_correlation

Row = Mapping[str, Any]
_LEAST_UNITS = 5
BY_DEPTH = "rank correlation of the change with depth"


def comparisons(asked: Lesion, table: pa.Table) -> pa.Table:
    """Of each model: whether early removals cost more than late ones, and msa more than what stands beside it.

    Early and late: Spearman's rank correlation of the change with depth, over the units of one mode. Its p takes units
    for independent draws, which neighbours are not quite.

    Beginnings and ends of stages: the accuracy without the first (last) msa of each stage that has msa and mlp or
    convolutions, less that without the first (last) mlp or convolution, in the mean over stages, image by image.
    """
    found: list[tuple[Row, ComparisonRow]] = []
    models = {str(one.first["model"]): one for one in measured_models(table, ("mode", "unit", "other_unit"))}
    for name, rows in rows_by_model(summary(asked, table)).items():
        removed = [row for row in rows if row["unit"]]
        for mode in dict.fromkeys(row["mode"] for row in removed):
            own = [row for row in removed if row["mode"] == mode]
            if len(own) >= _LEAST_UNITS and not any(row["other_unit"] for row in own):
                found.append((rows[0], _by_depth(mode, own)))
        single = [row for row in removed if not row["other_unit"] and row["mode"] == "branch"]
        found += [(rows[0], row) for row in _kinds_at_ends(single, models[name])]
    return with_leading_of(to_table(ComparisonRow, [row for _, row in found]), [first for first, _ in found])


def _by_depth(mode: str, rows: Sequence[Row]) -> ComparisonRow:
    rho, p = rank_correlation([row["depth"] for row in rows], [row["change"] for row in rows])
    return ComparisonRow(
        other="",
        number=f"{BY_DEPTH}, mode {mode}",
        difference=rho,
        low=None,
        high=None,
        unit="",
        p=p,
        p_holm=p,
        images=len(rows),
        note="",
    )


def beside(rows: Sequence[Row], place: int) -> Iterator[tuple[Row, Row]]:
    """The first (place 0) or last (-1) msa of each stage, with the first or last mlp or convolution of it.

    Args:
        rows: of a summary, of one model, single branches.
        place: 0 or -1.
    """
    for stage in dict.fromkeys(row["stage"] for row in rows):
        ordered = sorted((row for row in rows if row["stage"] == stage), key=lambda row: float(row["depth"]))
        msa = [row for row in ordered if row["kind"] == "msa"]
        others = [row for row in ordered if row["kind"] in ("mlp", "conv")]
        if msa and others:
            yield msa[place], others[place]


def _kinds_at_ends(rows: Sequence[Row], outcomes: Measured) -> list[ComparisonRow]:
    """Whether the msa or the mlp or convolution beside it matters more, at the beginnings and at the ends of stages."""

    def mean(chosen: Sequence[Row]) -> Values:
        return outcomes.mean([(row["mode"], row["unit"], row["other_unit"]) for row in chosen])

    pairs = {words: list(beside(rows, place)) for words, place in (("beginning", 0), ("end", -1))}
    if not pairs["end"]:
        return []
    found = {
        words: paired_means(mean([row for row, _ in own]), mean([row for _, row in own]))
        for words, own in pairs.items()
    }
    raised = holm([one.p for one in found.values()])
    kinds = " or ".join(sorted({str(other["kind"]) for _, other in pairs["end"]}))
    return [
        comparison_row(f"accuracy without msa less that without {kinds}, {words} of stages", one, p, POINTS, outcomes)
        for (words, one), p in zip(found.items(), raised, strict=True)
    ]
