"""Sentences on fit: what a network's training loss and test error are, and whether one goes with the other."""

from collections.abc import Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import MODELS_DIFFER, UNKNOWN, Finding, about, capital, counted, label_of, number
from visionscope.core.grouping import rows_of
from visionscope.core.reference import state_of
from visionscope.diagnostics.fit.question import Fit
from visionscope.diagnostics.fit.results import GAIN, LOSS, ORDER, alike
from visionscope.diagnostics.outcomes.words import chance, difference_of, is_clear, masks_limit, numbers_of

Row = Mapping[str, Any]
_COLUMNS = (
    *("nll_train", "nll_train_se", "error", "error_low", "error_high", "nll_test", "fraction"),
    *("train_images", "test_images", "augmentation", "targets", "label_smoothing"),
)
_LIMITS = (
    "Training loss is measured on augmented images, with the network as it is at test time. All networks see the "
    "augmentation that the caption names; one that was trained under another is at a disadvantage. A few networks "
    "make an ordering, not a law: they differ in more than in how well they fit.",
)


def limits(asked: Fit, tables: Tables) -> Sequence[str]:
    """What losses and errors of a few networks can't tell."""
    return (*_LIMITS, *masks_limit(tables))


def findings(asked: Fit, tables: Tables) -> list[Finding]:
    """For each model its training loss beside its test error; whether networks that fit better also err less."""
    if "summary" not in tables:  # of no model both splits are done
        return []
    models = {str(row["model"]): row for row in tables["summary"].to_pylist()}
    pairs: dict[tuple[str, str], dict[str, Row]] = {}
    told = [_alone(row) for row in models.values()]
    compared = rows_of(tables, "comparisons")
    for row in compared:
        if row["number"] in (LOSS, GAIN):
            pairs.setdefault((row["model"], row["other"]), {})[row["number"]] = row
    told += [_two((models[low], models[high]), rows[LOSS], rows[GAIN]) for (low, high), rows in pairs.items()]
    for row in compared:
        if row["number"] == ORDER:
            first = models[row["model"]]
            told.append(_ordering([one for one in models.values() if alike(one) == alike(first)], row))
    return told


def _alone(row: Row) -> Finding:
    said = f"NLL_train is {number(row['nll_train'])}{_plus_minus(row)} nat and the test error {_error(row)}"
    images = f"{counted(row['train_images'], 'training image')} "
    images += f"({row['augmentation']} augmentation, targets: {row['targets']})"
    detail = [
        f"Over {images} and {counted(row['test_images'], 'test image')}, where NLL is {number(row['nll_test'])} nat."
    ]
    return about(
        [row],
        said,
        detail=detail,
        columns=_COLUMNS,
        measure="test error",
        value=row["error"],
        low=row["error_low"],
        high=row["error_high"],
        unit="%",
        n=row["test_images"],
    )


def _two(rows: tuple[Row, Row], loss: Row, gain: Row) -> Finding:
    """Whether the network of smaller training loss, the first, has the smaller test error: so it is in figure 5a."""
    labels = [label_of([row]) for row in rows]
    fits = f"{labels[0]} fits its training images better than {labels[1]}"
    verdict, agrees = UNKNOWN, None
    if loss["high"] is None or loss["high"] >= 0:
        said = f"it is unclear whether {fits}"
    elif not is_clear(gain):
        said = f"{fits}, but it is unclear which errs less on test images"
    else:
        said = f"{fits}, {'and errs less' if gain['difference'] > 0 else 'and yet errs more'} on test images"
        verdict, agrees = MODELS_DIFFER, gain["difference"] > 0
    losses = " against ".join(f"{number(row['nll_train'])}{_plus_minus(row)}" for row in rows)
    return _several(
        rows,
        capital(said, labels),
        detail=f"NLL_train {losses} nat; difference in accuracy {difference_of(gain)}, {chance(gain['p_holm'])}.",
        verdict=verdict,
        strength=1.0 + abs(gain["difference"]) / 100 if verdict == MODELS_DIFFER else 0.0,
        state=state_of([agrees], *([row] for row in rows)),
        **numbers_of(gain),
    )


def _ordering(rows: Sequence[Row], compared: Row) -> Finding:
    """Whether networks in the order of their training loss are in the order of their error, too: so in figure 5a."""
    rho = compared["difference"]
    numbers = (
        f"rank correlation {number(rho, 2)}, {chance(compared['p'])}, over {counted(compared['images'], 'network')}"
    )
    if is_clear(compared):
        said = f"The {'smaller' if rho > 0 else 'larger'} NLL_train, the smaller the test error"
    else:
        said = "It is unclear whether a smaller NLL_train goes with a smaller test error"
    ordered = sorted(rows, key=lambda row: float(row["nll_train"]))
    return _several(
        ordered,
        said,
        detail=f"{capital(numbers)}. By NLL_train: {', '.join(str(row['model']) for row in ordered)}.",
        verdict="described" if is_clear(compared) else UNKNOWN,
        strength=abs(rho) if is_clear(compared) else 0.0,
        state=state_of([rho > 0 if is_clear(compared) else None], *([row] for row in ordered)),
        **numbers_of(compared),
    )


def _several(rows: Sequence[Row], said: str, **more: Any) -> Finding:
    """A sentence on several networks, with the summary of each."""
    columns = ("model", *_COLUMNS)
    shown = tuple(tuple(row[key] for key in columns) for row in rows)
    models = tuple(str(row["model"]) for row in rows)
    return Finding(model="", models=models, headline=f"{said}.", columns=columns, rows=shown, **more)


def _plus_minus(row: Row) -> str:
    return "" if row["nll_train_se"] is None else f" ± {number(row['nll_train_se'], 2)}"


def _error(row: Row) -> str:
    return f"{number(row['error'])} % (95 % interval {number(row['error_low'])} to {number(row['error_high'])} %)"
