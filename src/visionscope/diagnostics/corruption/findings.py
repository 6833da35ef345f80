"""Sentences on corruptions: what accuracy is left, and which of two networks keeps more."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import Finding, about, counted, joined, number
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.corruption.question import Corruption
from visionscope.diagnostics.corruption.results import ALL, LOSS, ROBUSTNESS, words
from visionscope.diagnostics.outcomes.fairness import FAIRNESS_LIMIT, at_chance
from visionscope.diagnostics.outcomes.rows import POINTS
from visionscope.diagnostics.outcomes.words import (
    PAIRED_LIMIT,
    Clear,
    between,
    change_text,
    is_clear,
    masks_limit,
    share_numbers,
    share_text,
)

Row = Mapping[str, Any]
_COLUMNS = (
    "corruption", "images", "accuracy", "accuracy_low", "accuracy_high", "change", "change_low", "change_high",
    "p_holm", "mce", "origin",
)  # fmt: skip
_WORST = 3
_LIMITS = (
    "Mean accuracy over types and severities, the paper's robustness, is not the mean corruption error (mCE) of the "
    "literature. Only the published image sets compare with published numbers: corruptions made on the fly follow the "
    "same recipes with other code, and other parameters in part.",
    PAIRED_LIMIT,
    FAIRNESS_LIMIT,
)

_MOVED = (
    "elastic_transform moves images away from their masks, so that it is left out of networks that answer per pixel."
)


def limits(asked: Corruption, tables: Tables) -> Sequence[str]:
    """What corruptions can't tell."""
    masks = masks_limit(tables)
    return (*_LIMITS, *masks, *((_MOVED,) if masks else ()))


def findings(asked: Corruption, tables: Tables) -> list[Finding]:
    """For each model its robustness and the types that hurt most; for two models which is more robust."""
    # Without any clean images there is no summary.
    models = rows_by_model(tables["summary"]) if "summary" in tables else {}
    own = map(_compression if asked.by_quality else _robustness, models.values())
    return [*own, *_between_models(tables, "JPEG compression" if asked.by_quality else "corruptions")]


def _robustness(rows: Sequence[Row]) -> Finding:
    clean = next(row for row in rows if row["corruption"] == "")
    idle = at_chance(rows, round(clean["accuracy"] * clean["images"]), clean["images"], clean["chance"])
    if idle is not None:
        return idle
    overall = next(row for row in rows if row["corruption"] == ALL)
    types = [row for row in rows if row["severity"] is None and row["corruption"] != ALL]
    severities = {row["severity"] for row in rows if row["severity"]}
    ordered = sorted(types, key=lambda row: float(row["accuracy"]))
    extent = f"{counted(len(types), 'type')} in {counted(len(severities), 'severity', 'severities')}"
    detail = []
    if overall["change"] is not None:
        detail.append(f"Against clean images: {change_text(overall)}.")
    if len(ordered) > _WORST:
        worst = [f"{words(row['corruption'])} ({number(100 * row['accuracy'])} %)" for row in ordered[:_WORST]]
        detail.append(f"It does worst under {joined(worst)}, best under {words(ordered[-1]['corruption'])}.")
        quiet = [words(row["corruption"]) for row in types if row["p_holm"] is not None and not is_clear(row)]
        if quiet:
            detail.append(f"No significant effect: {joined(quiet)}.")
    if overall["mce"] is not None:
        detail.append(f"Mean corruption error against AlexNet: {number(100 * overall['mce'])} %.")
    if overall["origin"] != "published":
        detail.append(f"The images were made on the fly ({overall['origin']}): not comparable with published numbers.")
    return about(
        [overall, *ordered],
        f"robustness, the mean accuracy over {extent}, is {number(100 * overall['accuracy'])} %",
        detail=[f"Robustness {share_text(overall, 'accuracy')}.", *detail],
        columns=_COLUMNS,
        strength=0.6,
        **share_numbers(overall, "accuracy", ROBUSTNESS),
    )


def _compression(rows: Sequence[Row]) -> Finding:
    clean = next(row for row in rows if row["corruption"] == "")
    idle = at_chance(rows, round(clean["accuracy"] * clean["images"]), clean["images"], clean["chance"])
    if idle is not None:
        return idle
    qualities = sorted((row for row in rows if row["severity"]), key=lambda row: -int(row["severity"]))
    worst = min(qualities, key=lambda row: float(row["change"]))
    clear = [row for row in qualities if is_clear(row)]
    if clear:
        first = clear[0]
        said = f"JPEG lowers accuracy from quality {first['severity']} on, by {number(-first['change'])} points"
        if first["change"] > 0:
            said = f"JPEG of quality {first['severity']} raises accuracy by {number(first['change'])} points"
        elif worst is not first:
            said += f"; at quality {worst['severity']} it costs {number(-worst['change'])}"
    else:
        said = f"no JPEG quality down to {qualities[-1]['severity']} changes accuracy clearly"
    told = first if clear else worst
    return about(
        [clean, *qualities],
        said,
        detail=[f"Quality {row['severity']}: {change_text(row)}." for row in qualities],
        columns=("severity", *_COLUMNS),
        strength=0.6 if clear else 0.2,
        measure=f"change at JPEG quality {told['severity']}",
        value=told["change"],
        low=told["change_low"],
        high=told["change_high"],
        unit=POINTS,
        n=told["images"],
    )


def _between_models(tables: Tables, what: str) -> Iterator[Finding]:
    def say(clear: Sequence[Clear]) -> str:
        more = {one.number: (one.more, one.less) for one in clear}
        if ROBUSTNESS not in more:
            return f"{{}} loses more of its accuracy under {what} than {{}}".format(*more[LOSS])
        said = f"{{}} is more robust to {what} than {{}}".format(*more[ROBUSTNESS])
        if LOSS not in more:
            return said
        least = more[LOSS][1]
        return (
            f"{said}, and loses less of its accuracy"
            if least == more[ROBUSTNESS][0]
            else (f"{said}, though {least} loses less of its accuracy")
        )

    if "comparisons" in tables:
        yield from between(tables["comparisons"], tables["rows"], say)
