"""The sentences that stand at the top of a page."""

from collections import Counter
from collections.abc import Mapping, Sequence

from visionscope.core.diagnostic import Answer, Theme
from visionscope.core.finding import MODELS_DIFFER, UNCHANGED, UNKNOWN, Finding
from visionscope.report.overview import accuracies

_FEW_DIAGNOSTICS = 4
_NEARLY = 0.7


def in_order(answers: Sequence[Answer]) -> list[Answer]:
    """Answers as the page tells them: theme by theme, those of the program first, each in its place.

    Args:
        answers: of a run.
    """
    themes = [str(theme) for theme in Theme]
    themes += sorted({one.theme for one in answers if one.theme} - set(themes))
    return sorted(
        answers,
        key=lambda one: (
            themes.index(one.theme) if one.theme in themes else len(themes),
            one.place,
            one.diagnostic,
        ),
    )


def main_findings(answers: Sequence[Answer], count: int | None = None) -> list[Finding]:
    """The sentences that say most: each model is heard first, then each theme, diagnostic and kind in turn.

    What two models clearly differ in is chosen before all, the strongest of each question, for at most half of the
    places. Those chosen stand in the order of the page, as the table beside them does.

    Sentences that claim no direction come only where there are too few of the others, and those on branches that do
    nothing only where there is nothing else. Of a network whose accuracy is that of guessing nothing is said here.

    Args:
        answers: in the order of the page.
        count: how many at most; by default 3, or 5 where there are many diagnostics.
    """
    guessing = {name for name, one in accuracies(answers).items() if one.near_chance}
    found = [one for answer in answers for one in answer.findings if not guessing & {one.model, *one.models}]
    places = {answer.diagnostic: place for place, answer in enumerate(answers)}
    themes = {answer.diagnostic: answer.theme for answer in answers}
    if count is None:
        count = 3 if len({one.diagnostic for one in found}) <= _FEW_DIAGNOSTICS else 5
    left = [one for one in found if one.verdict != UNCHANGED] or found
    differing = sorted((one for one in left if one.verdict == MODELS_DIFFER), key=lambda one: -one.strength)
    strongest_of = {one.question or one.diagnostic: one for one in reversed(differing)}
    ranked = [one for one in differing if one is strongest_of[one.question or one.diagnostic]][: max(1, count // 2)]
    left = [one for one in left if one not in ranked]
    while left and len(ranked) < count:
        best = _next(left, ranked, themes, places)
        left.remove(best)
        ranked.append(best)
    return sorted(ranked, key=lambda one: places[one.diagnostic])


def _next(
    left: Sequence[Finding], ranked: Sequence[Finding], themes: Mapping[str, str], places: Mapping[str, int]
) -> Finding:
    """The sentence that adds most to those that were chosen."""
    heard = {name for one in ranked for name in (one.model, *one.models)}
    pool = [one for one in left if one.model and one.model not in heard] or list(left)
    pool = [one for one in pool if one.strength > 0] or [one for one in pool if one.verdict != UNKNOWN] or pool
    uses = Counter(one.diagnostic for one in ranked)
    told = Counter(themes[one.diagnostic] for one in ranked)
    diagnostic = min((one.diagnostic for one in pool), key=lambda name: (uses[name], told[themes[name]], places[name]))
    pool = [one for one in pool if one.diagnostic == diagnostic]
    # Among nearly as strong sentences, one on a kind that has not had its say.
    strongest = max(one.strength for one in pool)
    rivals = [one for one in pool if one.strength >= _NEARLY * strongest]
    kinds = Counter(one.kind for one in ranked)
    return min(rivals, key=lambda one: (kinds[one.kind], -one.strength))
