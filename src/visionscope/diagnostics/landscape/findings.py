"""Sentences on landscapes: how far the loss stays low, which network lies flatter."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import (
    MODELS_DIFFER,
    MOST_WORDS,
    UNKNOWN,
    Finding,
    about,
    capital,
    counted,
    joined,
    label_of,
    number,
)
from visionscope.core.grouping import rows_by_model, rows_of
from visionscope.core.reference import attending, convolutional, state_of
from visionscope.diagnostics.landscape.question import Landscape
from visionscope.diagnostics.landscape.results import HOLES, RADIUS, SHARE_OF_L2, SHARPNESS

Row = Mapping[str, Any]
_COLUMNS = ("quantity", "value", "deviation", "low", "high", "unit", "directions", "note")
_PAIR = (
    *("number", "model", "value", "deviation", "other", "other_value", "other_deviation"),
    *("difference", "low", "high", "unit", "note"),
)
_LIMITS = (
    "A step of filter-normalized directions is as long as the filters themselves: networks with large weights take "
    "larger steps, and those of different size move in spaces of different dimension. A landscape is a cut of two "
    "dimensions: what lies beside it is not seen.",
    "L2 is a plain bowl around any network. Where it makes most of NLL + L2, that surface says little of the network: "
    "look at the NLL.",
)


def limits(asked: Landscape, tables: Tables) -> Sequence[str]:
    """What a cut through the loss can't tell, and how much of this one is not finite."""
    places = {name: len(rows) for name, rows in rows_by_model(tables["rows"]).items()}
    holes = {
        name: int(row["value"])
        for name, rows in (rows_by_model(tables["summary"]) if "summary" in tables else {}).items()
        for row in rows
        if row["quantity"] == HOLES and row["value"]
    }
    if not holes:
        return _LIMITS
    whose = joined([f"{count} of {places[name]} around {name}" for name, count in holes.items()])
    return (
        *_LIMITS,
        f"Losses that are infinite or not a number ({whose}) are holes in the figure; a mean that needs one has no "
        "value.",
    )


def findings(asked: Landscape, tables: Tables) -> list[Finding]:
    """For each model how far the NLL stays low; for pairs of models which lies flatter, where draws tell."""
    planes = {name: rows[0] for name, rows in rows_by_model(tables["rows"]).items()}
    numbers = rows_by_model(tables["summary"]) if "summary" in tables else {}
    labels = {name: label_of(rows) for name, rows in numbers.items()}
    compared = rows_of(tables, "comparisons")
    return [*(_of_model(rows, planes[name]) for name, rows in numbers.items()), *_between(compared, labels, tables)]


def _of_model(rows: Sequence[Row], place: Row) -> Finding:
    radius, sharpness, share = (_find(rows, start) for start in (RADIUS, SHARPNESS, SHARE_OF_L2))
    said, detail = "no number on flatness is known", []
    if radius is not None:
        rise = radius["quantity"].removeprefix(RADIUS)
        if radius["value"] is not None:
            said = f"the NLL has risen by {rise} at a step of {number(radius['value'])}"
            detail.append(f"Over {counted(radius['directions'], 'half-line')}: {_spread(radius)}.")
            detail += [f"That is {radius['note']}."] if radius["note"] else []
        else:
            said = f"a rise of {rise} is {radius['note']}"
            if radius["low"] is not None:
                detail.append(f"Where it is reached, the nearest is at step {number(radius['low'])}.")
    if sharpness is not None:
        step = sharpness["quantity"].removeprefix(SHARPNESS)
        told = f"unknown: {sharpness['note']}"
        if sharpness["value"] is not None:
            told = f"{number(sharpness['value'])} nat higher ({_spread(sharpness)})"
        detail.append(f"At step {step} it is {told}, over {counted(sharpness['directions'], 'direction')}.")
    if share is not None and share["value"] is not None:
        percent = number(100 * share["value"], 2)
        detail.append(f"At the border of the grid L2 makes {percent} % of the rise of NLL + L2.")
    said += f" of {place['normalization']}-normalized directions" if place["plane"] == "random" else ""
    if radius is None:
        return about(rows, said, detail=detail, columns=_COLUMNS, lead="Around")
    return about(
        rows,
        said,
        detail=detail,
        columns=_COLUMNS,
        lead="Around",
        strength=0.1,
        measure=radius["quantity"],
        value=radius["value"],
        unit=radius["unit"],
        n=radius["directions"],
    )


def _between(compared: Sequence[Row], labels: Mapping[str, str], tables: Tables) -> Iterator[Finding]:
    networks = rows_by_model(tables["summary"])
    for row in compared:
        first, second = (labels[row[key]] for key in ("model", "other"))
        clear = row["low"] is not None and (row["high"] < 0 or row["low"] > 0)
        flatter, sharper = (first, second) if clear and row["high"] < 0 else (second, first)
        headline, detail = f"The loss around {flatter} is flatter than around {sharper}.", ""
        if not clear:
            reason = row["note"] or "the spread over directions is too large"
            headline = f"It is unclear whether the loss is flatter around {first} or {second}"
            # A long reason is left to the detail.
            told = len(f"{headline}: {reason}".split()) <= MOST_WORDS
            headline, detail = (f"{headline}: {reason}.", "") if told else (f"{headline}.", f"{capital(reason)}.")
        if row["difference"] is not None:
            step = row["number"].removeprefix(SHARPNESS)
            sides = f"{_side(row, '')} around {first}, {_side(row, 'other_')} around {second}"
            ends = f"95 % interval {number(row['low'])} to {number(row['high'])}"
            ends += f", widened as these are the extremes of {row['chosen_of']}" * (row["chosen_of"] > 2)
            rise = f"Rise of the NLL at step {step}, in nat: {sides}"
            detail = f"{detail} {rise}; difference {number(row['difference'])} ({ends}).".strip()
        yield Finding(
            model="",
            models=(row["model"], row["other"]),
            measure=row["number"],
            **{key: row["difference"] if key == "value" else row[key] for key in ("value", "low", "high", "unit")},
            state=state_of(_agreements(row, tables, clear=clear), *(networks[row[key]] for key in ("model", "other"))),
            headline=headline,
            detail=detail,
            columns=_PAIR,
            rows=(tuple(row[key] for key in _PAIR),),
            verdict=MODELS_DIFFER if clear else UNKNOWN,
            strength=1.0 if clear else 0.0,
        )


def _agreements(row: Row, tables: Tables, *, clear: bool) -> list[bool | None]:
    """Whether the loss is flatter around a network with self-attention than around one without: figures 1a and C.4a."""
    with_attention = attending(tables)
    sides = [row[key] in with_attention for key in ("model", "other")]
    known = with_attention | convolutional(tables)
    if sides[0] == sides[1] or row["note"] or not {row["model"], row["other"]} <= known:
        return []
    return [sides[0] == (row["difference"] < 0) if clear else None]


def _find(rows: Sequence[Row], start: str) -> Row | None:
    """The row of the quantity whose name begins like this."""
    return next((row for row in rows if row["quantity"].startswith(start)), None)


def _spread(row: Row) -> str:
    ends = f"range {number(row['low'])} to {number(row['high'])}"
    return ends if row["deviation"] is None else f"standard deviation {number(row['deviation'], 2)}, {ends}"


def _side(row: Row, prefix: str) -> str:
    value, deviation = (row[f"{prefix}{name}"] for name in ("value", "deviation"))
    return f"{number(value)} (standard deviation over directions {number(deviation, 2)})"
