"""From a loaded model to the subject of a study: traced, with its points, in its precision."""

import dataclasses
import functools
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from visionscope.core.inputs import image_like, weight_type
from visionscope.core.sample import InputConfig
from visionscope.core.subject import Point, Scope, Subject
from visionscope.curvature.scopes import find_scopes
from visionscope.errors import ConfigError, NotApplicableError, TraceError, nearest
from visionscope.models.ensemble import Ensemble
from visionscope.models.load import LoadedModel
from visionscope.running.study import Study
from visionscope.tracing import Trace, trace, watch
from visionscope.tracing.opaque import check_ready, check_runs, hidden


def subject_of(study: Study, loaded: LoadedModel, *, points_needed: bool) -> Subject:
    """The model with its points, without samples; what can't be looked into has none.

    Args:
        study: tells the points and the precision, and whether predictions alone are worth having.
        loaded: the model.
        points_needed: whether a network without any is refused.

    Raises:
        ConfigError: when none of the study's points is there, or for a precision that the model can't be had in.
        TraceError: when the model can't be traced, or does not run.
    """
    subject = Subject(
        label=loaded.label,
        model=loaded.model,
        points=(),
        watch=unwatched,
        samples={},
        precision=study.precision,
        input=loaded.input,
        fraction=loaded.fraction,
    )
    example = torch.zeros(2, len(loaded.input.mean), *loaded.input.size)
    predictions = any(map(asks_predictions, study.diagnostics))
    traced = looked_into(loaded.model, example, points_needed=points_needed, predictions=predictions)
    if isinstance(traced, str):
        return _typed(study, dataclasses.replace(subject, hidden=traced))
    points = _chosen(traced, study.points, loaded.label)
    subject = dataclasses.replace(
        subject,
        points=points,
        watch=functools.partial(watch, loaded.model, traced, points=points),
        scopes=functools.partial(scopes_of, loaded.model, traced, loaded.input),
        trace=traced,
    )
    return _typed(study, subject)


def looked_into(model: nn.Module, images: Tensor, *, points_needed: bool, predictions: bool) -> Trace | str:
    """What tracing finds in a network, or why nothing but its predictions can be had.

    Args:
        model: any.
        images: two.
        points_needed: whether a network without any points is refused.
        predictions: whether something asks for predictions alone, so that a network which can't be traced is of use.

    Raises:
        TraceError: when it does not run, or can't be traced and more than predictions is asked.
    """
    check_ready(model)
    if isinstance(model, Ensemble):
        return "looks inside one network, and this is an ensemble, of which only predictions are told"
    found = hidden(model)
    if found is not None:
        check_runs(model, images)
        return found.reason
    try:
        return trace(model, images, points_needed=points_needed)
    except TraceError as error:
        if not predictions:
            raise
        try:
            check_runs(model, images)
        except TraceError:
            raise error from None
        return str(error)


def asks_predictions(diagnostic: Any) -> bool:
    """Whether a diagnostic asks for predictions alone, so that it needs no look inside a network.

    Args:
        diagnostic: any.
    """
    return bool(getattr(diagnostic, "ensembles", False))


def _typed(study: Study, subject: Subject) -> Subject:
    found = hidden(subject.model) if study.precision != "fp32" else None
    if found is not None and found.fixed:
        raise ConfigError(
            f"precision: {subject.label} is {found.what} and stays as it was made; got {study.precision}, take fp32"
        )
    if study.precision == "fp64":
        subject.model.double()
    if study.precision == "fp32":  # a network of one's own may hold its weights in half
        return dataclasses.replace(subject, precision=precision_of(subject.model))
    return subject


def precision_of(model: nn.Module) -> str:
    """The type of most of a network's weights as tables say it: `fp32`, `fp64`, `float16`, `bfloat16`.

    Args:
        model: any network.
    """
    kind = weight_type(model)
    return {torch.float32: "fp32", torch.float64: "fp64"}.get(kind, str(kind).removeprefix("torch."))


def unwatched(callback: Any) -> AbstractContextManager[None]:
    """The `watch` of a subject without points.

    Args:
        callback: is never called.
    """
    raise NotImplementedError("it has no points")


def check_seen(diagnostic: Any, subject: Subject) -> None:
    """Refuses what looks inside a network, where nothing but predictions can be had.

    Args:
        diagnostic: any.
        subject: any.

    Raises:
        NotApplicableError: when it can't be looked into and the diagnostic asks for more than predictions.
    """
    if subject.hidden and not asks_predictions(diagnostic):
        raise NotApplicableError(subject.hidden)


def scopes_of(model: nn.Module, traced: Trace, input: InputConfig) -> tuple[Scope, ...]:
    """The parameters of the whole model, of each stage, each block and each kind.

    Args:
        model: the network, where it is.
        traced: its trace.
        input: size and channels of its images.
    """
    shape = (len(input.mean), *input.size)
    return find_scopes(model, traced, torch.zeros(2, *shape).to(image_like(model, shape)))


def _chosen(traced: Trace, names: tuple[str, ...], label: str) -> tuple[Point, ...]:
    if not names:
        return tuple(traced.points)
    known = [point.name for point in traced.all_points]
    points = tuple(point for point in traced.all_points if point.name in names)
    if not points:
        raise ConfigError(f"points: {label} has none called {names[0]!r}.{nearest(names[0], known)}")
    return points
