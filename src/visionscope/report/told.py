"""report.json: the page's numbers and sentences for programs."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Answer
from visionscope.core.failures import Failures
from visionscope.core.finding import Finding
from visionscope.report.overview import accuracies

FORMAT = 2


def told(
    answers: Sequence[Answer],
    main: Sequence[Finding],
    models: Sequence[Mapping[str, Any]],
    left_out: Sequence[Mapping[str, Any]],
    failures: Failures,
) -> dict[str, Any]:
    """What report.json holds: models, measures, findings with their numbers and the rows behind them, limits.

    `format` counts up when a key changes its meaning. Values that are not finite are null.

    Args:
        answers: in the order of the page.
        main: the sentences at the top of the page.
        models: a row for each, as the page shows them.
        left_out: what does not apply to a model, with the reason.
        failures: what could not be computed or shown.
    """
    known = accuracies(answers)
    measures = [{"diagnostic": answer.diagnostic, **_cleaned(one)} for answer in answers for one in answer.measures]
    return {
        "format": FORMAT,
        "models": [
            {**model, "accuracy": _cleaned(known[model["label"]]) if model["label"] in known else None}
            for model in models
        ],
        "measures": measures,
        "main": [one.anchor for one in main],
        "findings": [_finding(one) for answer in answers for one in answer.findings],
        "limits": {answer.diagnostic: list(answer.limits) for answer in answers},
        "left_out": list(left_out),
        "failures": [failure.text for failure in failures.all],
    }


def _finding(one: Finding) -> dict[str, Any]:
    return {**_cleaned(one), "text": one.text}


def _cleaned(one: Any) -> dict[str, Any]:
    """The fields of a dataclass as JSON can hold them."""
    return {name: _plain(value) for name, value in dataclasses.asdict(one).items()}


def _plain(value: Any) -> Any:
    """A value as JSON can hold it: nothing for what is not finite."""
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
