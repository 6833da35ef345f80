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

__all__ = ["Finding", "caveats", "findings", "has_random_weights", "main_findings"]

DIAGNOSTICS = ("fourier", "variance", "similarity", "similarity_between", "hessian", "density", "landscape")
"""The order in which the page speaks of them."""

_FEW_IMAGES = 100

_CAVEATS = {
    "hessian": (
        "Eigenvalues depend on how a network is parametrized: where a normalisation follows a layer, scaling its "
        "weights changes every eigenvalue and not the function. Compare networks whose weights were trained alike.",
        "NEP and APE count the few eigenvalues of largest magnitude of mini-batches of 16 images. They are not the "
        "share of negative directions of the whole Hessian, and other sizes of mini-batches give other numbers.",
    ),
    "density": (
        "The density knows where many eigenvalues lie, not single ones: its peaks are as wide as the stated standard "
        "deviation, and its smallest masses rest on a few random vectors.",
    ),
    "landscape": (
        "A step of filter-normalized directions is as long as the filters themselves: networks with large weights "
        "take larger steps, and those of different size move in spaces of different dimension. A landscape is a cut "
        "of two dimensions: what lies beside it is not seen.",
        "L2 is a plain bowl around any network. Where it makes most of NLL + L2, that surface says little of the "
        "network: look at the NLL.",
    ),
}
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


def has_random_weights(jobs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any model of the run was never trained.

    Args:
        jobs: the runs' `job.json` dicts.
    """
    return any(str(job["model"]["weights"]).startswith("random") for job in jobs)


def caveats(tables: Mapping[str, pa.Table], jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the numbers of this very run can and can't tell.

    Args:
        tables: result rows by diagnostic.
        jobs: the runs' `job.json` dicts.
    """
    said = [
        "An interval says how far a number would move with other images of the same kind. It knows nothing of other "
        "training runs: one network is one sample. Of 20 intervals that truly hold zero, one misses it by chance.",
    ]
    if any(name in tables for name in ("fourier", "variance", "similarity")):
        said.insert(
            0,
            "Compare changes inside one network. Absolute values depend on the width, the normalisation and the size "
            "of the grid: between networks, and across a change of grid, they don't compare.",
        )
    if "fourier" in tables:
        said.append(
            "High-frequency amplitude is measured relative to the mean of each map (frequency zero). A block that "
            "only shifts that mean moves the number as well."
        )
    said += [text for name, texts in _CAVEATS.items() if name in tables for text in texts]
    if "similarity" in tables:
        said.append(
            "Points of one stage are also close in depth, which alone makes them alike; CKA does not say which of "
            "two representations is the better one."
        )
    if has_random_weights(jobs):
        said.append("Models with random weights show what the architecture does before it has learned anything.")
    images = [int(job["data"]["images"]) for job in jobs]
    if images and min(images) < _FEW_IMAGES:
        said.append(f"{min(images)} images are few: intervals are wide, and rare kinds of image are missing.")
    return [*said, *_left_out(tables)]


def _left_out(tables: Mapping[str, pa.Table]) -> list[str]:
    said = []
    for name, table in tables.items():
        if not {"note", "point"} <= set(table.column_names) or not table.num_rows:
            continue
        rows = zip(*(table.column(key).to_pylist() for key in ("model", "point", "note")), strict=True)
        noted = {(model, point) for model, point, note in rows if note}
        if noted:
            points = "1 point has" if len(noted) == 1 else f"{len(noted)} points have"
            reasons = sorted({note for note in table.column("note").to_pylist() if note})
            said.append(f"{name}: {points} no number ({'; '.join(reasons)}).")
    return said
