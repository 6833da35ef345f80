"""From a loaded model to the subject that a diagnostic gets: traced, in its precision, with samples and logits."""

import dataclasses
import functools
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from visionscope.core.diagnostic import MeasuringDiagnostic
from visionscope.core.inputs import image_like, weight_type
from visionscope.core.logits import check_answers
from visionscope.core.spans import spans_of
from visionscope.core.subject import Point, Scope, Subject, Update
from visionscope.curvature.scopes import find_scopes
from visionscope.errors import ConfigError, NotApplicableError, TraceError, nearest
from visionscope.models.detectors import detects, looked_at
from visionscope.models.ensemble import Ensemble
from visionscope.models.load import LoadedModel
from visionscope.running.readouts import Reading
from visionscope.running.samples import Images, classes_of
from visionscope.running.study import Study, check_precision
from visionscope.tracing import Trace, trace, watch
from visionscope.tracing.opaque import check_ready, check_runs, hidden


class Asking:
    """A model to which the diagnostics of a study are put: traced once, its logits found once.

    Args:
        study: what is asked, and how.
        loaded: the model.
        images: where its samples come from.
        update: what the optimizer's last step changed, of a model that is trained meanwhile.

    Attributes:
        subject: the model; its sample `eval` is there if something observes.

    Raises:
        ConfigError: when none of the study's points is there, or for a precision that the model can't be had in.
        TraceError: when the model can't be traced, or does not run.
    """

    def __init__(self, study: Study, loaded: LoadedModel, images: Images, update: Update | None = None) -> None:
        self._detects = detects(loaded.model)
        loaded = dataclasses.replace(loaded, model=looked_at(loaded.model))
        self._study, self._loaded, self._images = study, loaded, images
        observing = not all(isinstance(diagnostic, MeasuringDiagnostic) for diagnostic in study.diagnostics)
        shape = images.shape(loaded.input)
        subject = _subject_of(study, loaded, shape, points_needed=bool(observing or study.points))
        samples = {"eval": images.observed(loaded.input)} if observing else {}
        self.subject = dataclasses.replace(subject, samples=samples, input=images.input(loaded.input), update=update)
        asked = {"output": study.output, "output_is": study.output_is}
        self._reading = Reading(loaded.label, subject.model, shape, **asked, stated=loaded.num_classes)

    def job(self, diagnostic: Any) -> tuple[Subject, tuple[str, ...]]:
        """The subject as a diagnostic gets it, and the names of its parts.

        Args:
            diagnostic: of the study.

        Raises:
            NotApplicableError: when it has nothing to ask of this model or these images.
            VisionscopeError: when the images can't be had.
        """
        _check_seen(diagnostic, self.subject)
        check_precision(diagnostic, self.subject.precision, NotApplicableError)
        if not isinstance(diagnostic, MeasuringDiagnostic):
            return self.subject, spans_of(len(self.subject.samples["eval"]))
        own = self._measured(diagnostic)
        return own, tuple(diagnostic.parts(own))

    def _measured(self, diagnostic: MeasuringDiagnostic) -> Subject:
        """With samples, its logits and, on training images, an objective."""
        needed = getattr(diagnostic, "needs_logits", True)
        if needed and self._detects:
            raise NotApplicableError(
                f"{self.subject.label}: detects objects; the feature maps of its backbone are looked at, and "
                f"{diagnostic.name} needs logits"
            )
        if needed and not getattr(diagnostic, "dense", False) and self._reading.is_dense():
            raise NotApplicableError(
                f"{self.subject.label}: answers per pixel, and {diagnostic.name} is asked of networks that answer per "
                "image"
            )
        classes = self._reading.classes() if needed else self._loaded.num_classes or None  # 0: no classifier
        samples = self._images.measured(diagnostic, self._loaded.input, classes)
        changed = dataclasses.replace(self.subject, samples=samples)
        if needed:
            # Images of a diagnostic's own may be of other classes than the study's.
            data = None if hasattr(diagnostic, "source") else classes_of(samples[diagnostic.sample])
            changed = dataclasses.replace(changed, readout=self._reading.readout(data))
            check_answers(changed.label, changed.readout, samples[diagnostic.sample])
        if diagnostic.sample != "train":
            return changed
        return dataclasses.replace(changed, objective=self._study.objective, augmentation=self._images.augmentation)


def _subject_of(study: Study, loaded: LoadedModel, shape: Sequence[int], *, points_needed: bool) -> Subject:
    """The model with its points, without samples; what can't be looked into has none."""
    subject = Subject(
        label=loaded.label,
        model=loaded.model,
        points=(),
        watch=_unwatched,
        samples={},
        precision=study.precision,
        fraction=loaded.fraction,
    )
    predictions = any(map(_asks_predictions, study.diagnostics))
    traced = _looked_into(loaded.model, torch.zeros(2, *shape), points_needed=points_needed, predictions=predictions)
    if isinstance(traced, str):
        return _typed(study, dataclasses.replace(subject, hidden=traced))
    points = _chosen(traced, study.points, loaded.label)
    subject = dataclasses.replace(
        subject,
        points=points,
        watch=functools.partial(watch, loaded.model, traced, points=points),
        scopes=functools.partial(scopes_of, loaded.model, traced, shape),
        trace=traced,
    )
    return _typed(study, subject)


def _looked_into(model: nn.Module, images: Tensor, *, points_needed: bool, predictions: bool) -> Trace | str:
    """What tracing finds in a network, or why nothing but its predictions can be had."""
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


def _asks_predictions(diagnostic: Any) -> bool:
    """Whether a diagnostic asks for predictions alone, so that it needs no look inside a network."""
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


def _unwatched(callback: Any) -> AbstractContextManager[None]:
    """The `watch` of a subject without points."""
    raise NotImplementedError("it has no points")


def _check_seen(diagnostic: Any, subject: Subject) -> None:
    """Refuses what looks inside a network, where nothing but predictions can be had."""
    if subject.hidden and not _asks_predictions(diagnostic):
        raise NotApplicableError(subject.hidden)


def scopes_of(model: nn.Module, traced: Trace, shape: Sequence[int]) -> tuple[Scope, ...]:
    """The parameters of the whole model, of each stage, each block and each kind.

    Args:
        model: the network, where it is.
        traced: its trace.
        shape: channels, height and width of its images.
    """
    return find_scopes(model, traced, torch.zeros(2, *shape).to(image_like(model, shape)))


def _chosen(traced: Trace, names: tuple[str, ...], label: str) -> tuple[Point, ...]:
    if not names:
        return tuple(traced.points)
    known = [point.name for point in traced.all_points]
    points = tuple(point for point in traced.all_points if point.name in names)
    if not points:
        raise ConfigError(f"points: {label} has none called {names[0]!r}.{nearest(names[0], known)}")
    return points
