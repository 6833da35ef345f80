"""The summary in plain words: every sentence is computed from rows, and carries them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.report.changes import QUANTITIES, change_findings
from visionscope.report.curvature import density_findings, hessian_findings
from visionscope.report.finding import MODELS_DIFFER, UNCHANGED, UNKNOWN, Finding
from visionscope.report.flatness import landscape_findings
from visionscope.report.likeness import between_findings, similarity_findings
from visionscope.report.limits import caveats, has_random_weights

__all__ = ["DIAGNOSTICS", "Finding", "caveats", "findings", "has_random_weights", "main_findings"]

DIAGNOSTICS = (
    *("fourier", "variance", "similarity", "similarity_between", "hessian", "density", "landscape"),
    *("lesion", "frequency_noise", "fourier_heatmap", "corruption", "adversarial"),
    *("calibration", "fit", "shape_bias", "attention"),
)
"""The order in which the page speaks of them."""

_NEARLY = 0.7


def findings(tables: Mapping[str, pa.Table], jobs: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """All sentences that the tables allow, model by model in the order of the jobs.

    Args:
        tables: result rows by diagnostic; those that are missing or empty say nothing.
        jobs: the runs' `job.json` dicts.
    """
    found: list[Finding] = []
    for quantity in QUANTITIES:
        if quantity.diagnostic in tables:
            found.extend(change_findings(tables[quantity.diagnostic], quantity))
    if "similarity" in tables:
        found.extend(similarity_findings(tables["similarity"]))
    if "similarity_between" in tables:
        found.extend(between_findings(tables["similarity_between"]))
    if {"hessian", "hessian_summary"} <= tables.keys():
        found.extend(hessian_findings(tables["hessian"], tables["hessian_summary"]))
    if "density_summary" in tables:
        found.extend(density_findings(tables["density_summary"]))
    if {"landscape", "landscape_summary"} <= tables.keys():
        found.extend(landscape_findings(tables["landscape"], tables["landscape_summary"]))
    order = list(dict.fromkeys(job["model"]["label"] for job in jobs))
    return sorted(found, key=lambda one: order.index(one.model) if one.model in order else len(order))


def main_findings(found: Sequence[Finding], count: int = 3) -> list[Finding]:
    """The sentences that say most: each model is heard first, then each diagnostic and kind in turn.

    What two models clearly differ in comes before all. Sentences that claim no direction come only where there are too
    few of the others, and those on branches that do nothing only where there is nothing else.

    Args:
        found: from `findings`.
        count: how many at most.
    """
    left = [one for one in found if one.verdict != UNCHANGED] or list(found)
    ranked = [one for one in left if one.verdict == MODELS_DIFFER][:1]
    left = [one for one in left if one not in ranked]
    while left and len(ranked) < count:
        heard = {one.model for one in ranked}
        pool = [one for one in left if one.model and one.model not in heard] or left
        pool = [one for one in pool if one.strength > 0] or [one for one in pool if one.verdict != UNKNOWN] or pool
        uses = {name: sum(one.diagnostic == name for one in ranked) for name in DIAGNOSTICS}
        diagnostic = min((one.diagnostic for one in pool), key=lambda name: (uses[name], DIAGNOSTICS.index(name)))
        pool = [one for one in pool if one.diagnostic == diagnostic]
        # Among nearly as strong sentences, one on a kind that has not had its say.
        strongest = max(one.strength for one in pool)
        rivals = [one for one in pool if one.strength >= _NEARLY * strongest]
        kinds = Counter(one.kind for one in ranked)
        best = min(rivals, key=lambda one: (kinds[one.kind], -one.strength))
        left.remove(best)
        ranked.append(best)
    return ranked
