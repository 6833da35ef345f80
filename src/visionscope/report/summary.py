"""The summary in plain words: every sentence is computed from rows, and carries them."""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.failures import Failures
from visionscope.core.finding import MODELS_DIFFER, UNCHANGED, UNKNOWN, Finding
from visionscope.report.changes import QUANTITIES, change_findings
from visionscope.report.curvature import density_findings, hessian_findings
from visionscope.report.flatness import landscape_findings
from visionscope.report.lesions import lesion_findings
from visionscope.report.likeness import between_findings, similarity_findings
from visionscope.report.limits import caveats, has_random_weights
from visionscope.report.looking import attention_findings
from visionscope.report.noise import heatmap_findings, noise_findings
from visionscope.report.robustness import adversarial_findings, corruption_findings
from visionscope.report.tables import SUFFIX
from visionscope.report.trust import calibration_findings, fit_findings, shape_findings

__all__ = ["DIAGNOSTICS", "Finding", "caveats", "findings", "has_random_weights", "main_findings"]

DIAGNOSTICS = (
    *("fourier", "variance", "similarity", "similarity_between", "hessian", "density", "landscape"),
    *("lesion", "frequency_noise", "fourier_heatmap", "corruption", "adversarial"),
    *("calibration", "fit", "shape_bias", "attention"),
)
"""The order in which the page speaks of them."""

THEMES = (
    (
        ("fourier", "variance", "similarity", "similarity_between", "attention"),
        "what each block does to the feature maps",
    ),
    (("hessian", "density", "landscape"), "how the loss curves"),
    (("lesion", "frequency_noise", "fourier_heatmap", "corruption", "adversarial"), "what breaks it"),
    (("calibration", "fit", "shape_bias"), "how far to trust it"),
)
"""What belongs together, and how the page's heading calls it."""

_FEW_DIAGNOSTICS = 4
_SAME_QUESTION = {"fourier_heatmap": "frequency_noise"}

_FROM_ROWS_AND_SUMMARY = {
    "hessian": hessian_findings,
    "landscape": landscape_findings,
    "lesion": lesion_findings,
    "frequency_noise": noise_findings,
    "fourier_heatmap": heatmap_findings,
    "corruption": corruption_findings,
    "adversarial": adversarial_findings,
    "calibration": calibration_findings,
    "fit": fit_findings,
    "shape_bias": shape_findings,
}
_FROM_SUMMARY = {"density": density_findings, "attention": attention_findings}
_NEARLY = 0.7


def diagnostic_of(name: str) -> str:
    """The diagnostic that a figure belongs to; a further set of parameters has a figure of its own (`hessian-2`).

    Args:
        name: of the figure.
    """
    diagnostic = name.rstrip("0123456789").removesuffix("-")
    return diagnostic if diagnostic in DIAGNOSTICS else name


def theme_of(diagnostic: str) -> str:
    """What a diagnostic is about.

    Args:
        diagnostic: its name.
    """
    return next((words for names, words in THEMES if diagnostic in names), "")


def findings(
    tables: Mapping[str, pa.Table], jobs: Sequence[Mapping[str, Any]], failures: Failures | None = None
) -> list[Finding]:
    """All sentences that the tables allow, model by model in the order of the jobs.

    Args:
        tables: result rows by diagnostic; those that are missing or empty say nothing.
        jobs: the runs' `job.json` dicts.
        failures: takes the diagnostics, and their models, on which no sentence can be made; without it an error is one.
    """
    found: list[Finding] = []
    for name, needed, sentences in _sources():
        if not set(needed) <= tables.keys():
            continue
        given = [tables[one] for one in needed]
        if failures is None:
            found += sentences(*given)
        else:
            found += failures.spared("sentences", name, functools.partial(_listed, sentences), given) or []
    order = list(dict.fromkeys(job["model"]["label"] for job in jobs))
    return sorted(
        found,
        key=lambda one: (
            order.index(one.model) if one.model in order else len(order),
            DIAGNOSTICS.index(one.diagnostic),
        ),
    )


def _sources() -> Iterator[tuple[str, tuple[str, ...], Callable[..., Iterable[Finding]]]]:
    """Each diagnostic, the tables that its sentences need, and what makes them."""
    for quantity in QUANTITIES:
        yield quantity.diagnostic, (quantity.diagnostic,), functools.partial(change_findings, quantity=quantity)
    yield "similarity", ("similarity",), similarity_findings
    yield "similarity_between", ("similarity_between",), between_findings
    for name, of_both in _FROM_ROWS_AND_SUMMARY.items():
        yield name, (name, name + SUFFIX), of_both
    for name, of_summary in _FROM_SUMMARY.items():
        yield name, (name + SUFFIX,), of_summary


def _listed(sentences: Callable[..., Iterable[Finding]], *tables: pa.Table) -> list[Finding]:
    return list(sentences(*tables))


def main_findings(found: Sequence[Finding], count: int | None = None) -> list[Finding]:
    """The sentences that say most: each model is heard first, then each theme, diagnostic and kind in turn.

    What two models clearly differ in comes before all, the strongest of each question, for at most half of the places;
    noise of one band and Fourier vectors ask the same. Sentences that claim no direction come only where there are too
    few of the others, and those on branches that do nothing only where there is nothing else.

    Args:
        found: from `findings`.
        count: how many at most; by default 3, or 6 where there are many diagnostics.
    """
    if count is None:
        count = 3 if len({one.diagnostic for one in found}) <= _FEW_DIAGNOSTICS else 6
    left = [one for one in found if one.verdict != UNCHANGED] or list(found)
    differing = sorted((one for one in left if one.verdict == MODELS_DIFFER), key=lambda one: -one.strength)
    strongest_of = {_question(one): one for one in reversed(differing)}
    ranked = [one for one in differing if one is strongest_of[_question(one)]][: max(1, count // 2)]
    left = [one for one in left if one not in ranked]
    while left and len(ranked) < count:
        heard = {one.model for one in ranked}
        pool = [one for one in left if one.model and one.model not in heard] or left
        pool = [one for one in pool if one.strength > 0] or [one for one in pool if one.verdict != UNKNOWN] or pool
        uses = Counter(one.diagnostic for one in ranked)
        themes = Counter(theme_of(one.diagnostic) for one in ranked)
        diagnostic = min(
            (one.diagnostic for one in pool),
            key=lambda name: (uses[name], themes[theme_of(name)], DIAGNOSTICS.index(name)),
        )
        pool = [one for one in pool if one.diagnostic == diagnostic]
        # Among nearly as strong sentences, one on a kind that has not had its say.
        strongest = max(one.strength for one in pool)
        rivals = [one for one in pool if one.strength >= _NEARLY * strongest]
        kinds = Counter(one.kind for one in ranked)
        best = min(rivals, key=lambda one: (kinds[one.kind], -one.strength))
        left.remove(best)
        ranked.append(best)
    return ranked


def _question(one: Finding) -> str:
    return _SAME_QUESTION.get(one.diagnostic, one.diagnostic)
