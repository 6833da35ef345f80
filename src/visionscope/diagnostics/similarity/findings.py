"""Sentences on how alike the points of a model, and of two models, are."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import UNKNOWN, Finding, about, counted, label_of, number, span, verdict_of
from visionscope.core.grouping import rows_by_model
from visionscope.core.reference import state_of
from visionscope.diagnostics.changes.words import INSIDE_ONE_NETWORK
from visionscope.diagnostics.similarity.question import Similarity
from visionscope.diagnostics.similarity.results import by_pair, most_alike, pairs_of

Row = Mapping[str, Any]
_LEAST_GROUPS = 4
_SHOWN = ("point_x", "point_y", "stage_x", "stage_y", "cka", "standard_error")
_RELATIONS = {
    "raises": "are more alike than points of different stages",
    "lowers": "are less alike than points of different stages",
}
_LIMITS = (
    INSIDE_ONE_NETWORK,
    "Points of one stage are also close in depth, which alone makes them alike; CKA does not say which of two "
    "representations is the better one.",
)


def limits(asked: Similarity, tables: Tables) -> Sequence[str]:
    """What CKA can't tell."""
    return _LIMITS


def findings(asked: Similarity, tables: Tables) -> Iterator[Finding]:
    """Of each model whether points of one stage are more alike than others; of each two the points most alike."""
    models = rows_by_model(tables["rows"])
    if "comparisons" in tables:
        for name, (compared,) in rows_by_model(tables["comparisons"]).items():
            tell = _plain if compared["note"] else _staged
            yield tell(pairs_of(models[name]), compared)
    if "between" in tables:
        labels = {name: label_of(rows) for name, rows in models.items()}
        for (x, y), rows in by_pair(tables["between"]).items():
            best = most_alike(rows)
            if best is not None:
                yield _between((x, y), labels, rows, best)


def _staged(pairs: Sequence[Row], compared: Row) -> Finding:
    means = [number(compared[key]) for key in ("same_stage", "other_stage")]
    pairs_of_one = counted(compared["same_pairs"], "pair")
    counts = f"over {pairs_of_one} of points of one stage and {compared['other_pairs']} of different ones"
    if compared["low"] is None:
        groups, group = compared["groups"], compared["group"]
        few = groups < _LEAST_GROUPS
        said = "no standard error says whether points of the same stage are more alike than others"
        if few:
            said = f"{counted(groups, 'group')} of {group} images {'is' if groups == 1 else 'are'} too few to say "
            said += "whether points of the same stage are more alike than others"
        advice = f" Use at least {_LEAST_GROUPS * group} images." if few else ""
        return about(
            pairs,
            said,
            detail=[f"Mean CKA {means[0]} against {means[1]}, {counts}.{advice}"],
            columns=_SHOWN,
            verdict=UNKNOWN,
        )
    ends = (compared["low"], compared["high"])
    relation = _RELATIONS.get(verdict_of(ends))
    said = relation or "are not clearly more alike than others"
    return about(
        pairs,
        f"points of the same stage {said}: mean CKA {means[0]} against {means[1]}",
        detail=[f"Difference {number(compared['difference'])} ({span(ends)}), {counts}."],
        columns=_SHOWN,
        verdict="stages differ" if relation else "stages don't differ",
        strength=abs(compared["difference"]) if relation else 0.0,
        # Figures 10a and D.3: networks of several stages have a block of alike points per stage.
        state=state_of([None if relation is None else compared["difference"] > 0], pairs),
        measure="mean CKA of points of the same stage less that of different stages",
        value=compared["difference"],
        low=compared["low"],
        high=compared["high"],
        n=compared["pairs"],
    )


def _plain(pairs: Sequence[Row], compared: Row) -> Finding:
    far = max(pairs, key=lambda row: abs(row["depth_x"] - row["depth_y"]))
    return about(
        pairs,
        f"there is {compared['note']}, so no pattern of stages to see: mean CKA {number(compared['cka'])} over "
        f"{counted(compared['pairs'], 'pair')} of points",
        detail=[f"Its two ends, {far['point_x']} and {far['point_y']}, have CKA {number(far['cka'])}."],
        columns=_SHOWN,
        measure="mean CKA over all pairs of points",
        value=compared["cka"],
        n=compared["pairs"],
    )


def _between(models: tuple[str, str], labels: Mapping[str, str], rows: Sequence[Row], best: Row) -> Finding:
    error = best["standard_error"]
    first, second = (labels.get(name, name) for name in models)
    spread = "" if error is None else f" Its standard error is {number(error, 2)}, a jackknife over groups of images."
    return Finding(
        model="",
        headline=f"Between {first} and {second}, the points most alike are {best['point_x']} and {best['point_y']} "
        f"(CKA {number(best['cka'])}).",
        detail=spread.strip(),
        columns=_SHOWN,
        rows=tuple(tuple(row[name] for name in _SHOWN) for row in rows if row["cka"] is not None),
        models=models,
        measure="largest CKA of two points",
        value=best["cka"],
        n=best["groups"],
    )
