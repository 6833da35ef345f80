"""Sentences on the Hessian: how many eigenvalues are negative, how large the positive ones are, and where."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import MODELS_DIFFER, UNKNOWN, Finding, about, capital, counted, joined, label_of, number
from visionscope.core.grouping import rows_by_model, rows_of
from visionscope.core.reference import attending, convolutional, state_of
from visionscope.diagnostics.hessian.question import UNIT, Hessian
from visionscope.diagnostics.hessian.results import COLUMNS, NEGATIVE, POSITIVE

Row = Mapping[str, Any]
_EIGENVALUES = ("mini_batch", "rank", "eigenvalue", "residual", "converged")
_ENDS = ("", "_low", "_high")
_PARTS = ("scope", "parameters", "eigenvalues", "unconverged")
_PAIR = ("number", "model", "value", "low", "high", "other", "other_value", "other_low", "other_high", "unit", "note")
_CLAIMS = {
    POSITIVE: "the positive eigenvalues of {} are larger than those of {}",
    NEGATIVE: "more of the eigenvalues of {} are negative than of those of {}",
}
_LIMITS = (
    "Eigenvalues depend on how a network is parametrized: where a normalisation follows a layer, scaling its weights "
    "changes every eigenvalue and not the function. Compare networks whose weights were trained alike.",
    "NEP and APE count the few eigenvalues of largest magnitude of mini-batches of 16 images. They are not the share "
    "of negative directions of the whole Hessian, and other sizes of mini-batches give other numbers.",
)


def limits(asked: Hessian, tables: Tables) -> Sequence[str]:
    """What eigenvalues of mini-batches can't tell, and how many of these are unknown."""
    by_model = rows_by_model(tables["summary"])
    missing = {name: sum(row["unconverged"] for row in rows) for name, rows in by_model.items()}
    count = sum(missing.values())
    if not count:
        return _LIMITS
    total = count + sum(row["eigenvalues"] for rows in by_model.values() for row in rows)
    whose = joined([f"{own} of {name}" for name, own in missing.items() if own])
    they = "it is" if count == 1 else "they are"
    return (
        *_LIMITS,
        f"{count} of {total} eigenvalues did not converge ({whose}): {they} marked in the rows and counted nowhere.",
    )


def findings(asked: Hessian, tables: Tables) -> list[Finding]:
    """For each model NEP and APE of the whole, then of its parts; for pairs of models which has more."""
    compared = rows_of(tables, "comparisons")
    eigenvalues = rows_by_model(tables["rows"])
    found, labels = [], {}
    for name, rows in rows_by_model(tables["summary"]).items():
        labels[name] = label_of(rows)
        for level in dict.fromkeys(row["level"] for row in rows):
            own = [row for row in rows if row["level"] == level]
            if level == "model":
                found.append(_of_model(own[0], [row for row in eigenvalues[name] if row["level"] == level]))
            else:
                pair = [row for row in compared if row["model"] == name and row["level"] == level and not row["other"]]
                found.append(_of_parts(level, own, pair))
    return [*found, *_between([row for row in compared if row["other"]], labels, tables)]


def _of_model(row: Row, eigenvalues: Sequence[Row]) -> Finding:
    if not row["eigenvalues"]:
        return about(eigenvalues, "no eigenvalue converged", columns=_EIGENVALUES)
    negative = f"{number(100 * row['negative_share'])} %" if row["negative_share"] else "none"
    are = "is" if negative == "none" or row["eigenvalues"] == 1 else "are"
    said = f"{negative} of the {counted(row['eigenvalues'], 'Hessian eigenvalue')} of largest magnitude {are} negative"
    if row["positive_mean"] is not None:
        said += f"; the positive ones average {number(row['positive_mean'])} {UNIT}"
    quartiles = f"{number(row['lower_quartile'])} and {number(row['upper_quartile'])}"
    detail = [
        f"NEP {_of_summary(row, NEGATIVE)}; APE {_of_summary(row, POSITIVE)}, over {_mini_batches(row)}.",
        f"Median {number(row['median'])}, quartiles {quartiles}.",
    ]
    share, *ends = (None if row[f"negative_share{end}"] is None else 100 * row[f"negative_share{end}"] for end in _ENDS)
    return about(
        eigenvalues,
        said,
        detail=detail,
        columns=_EIGENVALUES,
        strength=0.1,
        measure="NEP",
        value=share,
        low=ends[0],
        high=ends[1],
        unit="%",
        n=row["mini_batches"],
    )


def _mini_batches(row: Row) -> str:
    return counted(row["mini_batches"], "mini-batch", "mini-batches")


def _of_parts(level: str, rows: Sequence[Row], compared: Sequence[Row]) -> Finding:
    """The parts with the largest and the smallest mean of the positive eigenvalues."""
    known = [row for row in rows if row[COLUMNS[POSITIVE]] is not None]
    verdict, detail = "described", []
    if compared:
        (one,) = compared
        high, low = ((one[f"{key}scope"], number(one[f"{key}value"])) for key in ("", "other_"))
        said = f"the positive eigenvalues are largest in {high[0]} ({high[1]}) and smallest in {low[0]} ({low[1]})"
        detail = [f"Mean of the positive: {_sides(one, high[0], low[0])}."]
        if not one["apart"]:
            said, verdict = f"no {level} has significantly larger positive eigenvalues than another", UNKNOWN
            detail += [f"They don't compare: {one['note']}."] if one["note"] else []
    elif known:
        said = f"the positive eigenvalues of {known[0]['scope']} average {number(known[0][COLUMNS[POSITIVE]])} {UNIT}"
        detail = [f"APE {_of_summary(known[0], POSITIVE)}."]
    else:
        said = f"no {level} has a positive eigenvalue"
    columns = (*_PARTS, *(f"{name}{end}" for name in sorted(COLUMNS.values()) for end in ("", "_low", "_high")))
    return about(rows, f"by {level}, {said}", detail=detail, columns=columns, verdict=verdict)


def _between(compared: Sequence[Row], labels: Mapping[str, str], tables: Tables) -> Iterator[Finding]:
    networks = rows_by_model(tables["summary"])
    for row in compared:
        models = row["model"], row["other"]
        names = [labels[name] for name in models]
        headline = f"{capital(_CLAIMS[row['number']].format(*names), names)}."
        if row["note"]:
            headline = f"{joined(names)} are not compared in the {row['number']}: {row['note']}."
        elif not row["apart"]:
            headline = f"No significant difference between {joined(names)} in the {row['number']}."
        factor = 100.0 if row["number"] == NEGATIVE else 1.0
        difference = None if row["note"] else factor * (row["value"] - row["other_value"])
        yield Finding(
            model="",
            models=models,
            measure=row["number"],
            value=difference,
            unit="percentage points" if row["number"] == NEGATIVE else row["unit"],
            state=state_of(_agreements(row, tables), *(networks[name] for name in models)),
            headline=headline,
            detail=f"{capital(row['number'])}: {_sides(row, *names)}.",
            columns=_PAIR,
            rows=(tuple(row[key] for key in _PAIR),),
            verdict=MODELS_DIFFER if row["apart"] else UNKNOWN,
            strength=1.0 if row["apart"] else 0.0,
        )


def _agreements(row: Row, tables: Tables) -> list[bool | None]:
    """Whether a network with self-attention has more negative eigenvalues, and smaller positive ones, than one without.

    So it is in figures 1c, 4, C.4c and 12c.
    """
    with_attention = attending(tables)
    sides = [row[key] in with_attention for key in ("model", "other")]
    known = with_attention | convolutional(tables)
    if sides[0] == sides[1] or row["note"] or not {row["model"], row["other"]} <= known:
        return []
    # The first is the one that has more.
    return [sides[0] == (row["number"] == NEGATIVE) if row["apart"] else None]


def _sides(row: Row, first: str, second: str) -> str:
    texts = [_told(row["number"], [row[f"{key}{end}"] for end in ("value", "low", "high")]) for key in ("", "other_")]
    widened = f"; intervals are widened, as these are the extremes of {row['chosen_of']}" * (row["chosen_of"] > 2)
    return f"{texts[0]} in {first}, {texts[1]} in {second}{widened}"


def _of_summary(row: Row, what: str) -> str:
    return _told(what, [row[f"{COLUMNS[what]}{end}"] for end in ("", "_low", "_high")])


def _told(what: str, numbers: Sequence[float | None]) -> str:
    """A number with its interval; shares in percent."""
    factor, unit = (100.0, " %") if what == NEGATIVE else (1.0, "")
    value, low, high = (number(None if one is None else factor * one) for one in numbers)
    ends = "no interval" if numbers[1] is None else f"95 % interval {low} to {high}{unit}"
    return f"{value}{unit} ({ends})"
