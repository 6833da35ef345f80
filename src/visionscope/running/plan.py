"""From a study to its jobs: models loaded and traced, samples drawn, each diagnostic of each model given its digest."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from visionscope.core.diagnostic import MeasuringDiagnostic
from visionscope.core.printable import printable
from visionscope.core.sample import InputConfig
from visionscope.core.subject import Subject
from visionscope.core.versions import versions
from visionscope.data.sample import Sample
from visionscope.errors import ConfigError, NotApplicableError
from visionscope.models.ensemble import load_subject
from visionscope.models.load import LoadedModel
from visionscope.running.devices import device_of
from visionscope.running.readouts import readout_identity
from visionscope.running.samples import SpecImages
from visionscope.running.store import now
from visionscope.running.study import Study, check_asked
from visionscope.running.subjects import Asking


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One diagnostic of one subject.

    Attributes:
        diagnostic: the question, with its parameters.
        record: what job.json says.
        subject: what a measuring diagnostic is given, its sample included; None for an observing one.
    """

    diagnostic: Any
    record: Mapping[str, Any]
    subject: Subject | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the job's parts, in the table's order."""
        return tuple(self.record["parts"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedSubject:
    """A subject and its jobs.

    Attributes:
        subject: the model; its sample `eval` is there if something observes.
        jobs: in the order of the study.
        skipped: the diagnostics that have nothing to ask of it, with the reason.
    """

    subject: Subject
    jobs: tuple[Job, ...]
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def observing(self) -> tuple[Job, ...]:
        """The jobs that share forward passes."""
        return tuple(job for job in self.jobs if job.subject is None)

    @property
    def measuring(self) -> tuple[Job, ...]:
        """The jobs that work on their own."""
        return tuple(job for job in self.jobs if job.subject is not None)


def plan(study: Study) -> tuple[PlannedSubject, ...]:
    """Loads and traces every model of a study and works out its jobs; computes nothing else.

    Args:
        study: what is asked.

    Raises:
        ConfigError: see `check_asked`; and for one network under two labels, a point that no model has, weights that
            can't be had, a device that is not there.
        DataError: when the data can't be opened.
        TraceError: when a model can't be traced.
    """
    device = device_of(study.device)
    check_asked(study)
    images = SpecImages(study.data, study)
    if not all(isinstance(diagnostic, MeasuringDiagnostic) for diagnostic in study.diagnostics):
        images.open()  # wrong data is told before any weights are fetched
    planned: list[PlannedSubject] = []
    for text in study.models:
        subject = _plan_model(study, text, images, device)
        for other in planned:
            if _model_digest(other) == _model_digest(subject) != "":
                raise ConfigError(
                    f"models: {other.subject.label!r} and {subject.subject.label!r} are the same network with the same "
                    "weights; name it once"
                )
        planned.append(subject)
    _something_is_left(planned)
    _every_name_was_found(study.points, planned)
    return tuple(planned)


def plan_one(study: Study) -> PlannedSubject:
    """Loads and traces the one model of a study; what does not apply to it is left out, be it all that is asked.

    Args:
        study: what is asked.

    Raises:
        VisionscopeError: see `plan`.
    """
    device = device_of(study.device)
    check_asked(study)
    (text,) = study.models
    return _plan_model(study, text, SpecImages(study.data, study), device)


def job_digest(
    *,
    model: str,
    sample: str,
    diagnostic: Any,
    precision: str,
    points: Sequence[tuple[str, str]],
    objective: Mapping[str, Any] | None = None,
    measured: Sequence[str] = (),
    readout: Mapping[str, Any] | None = None,
) -> str:
    """The identity of a job: sha256 over all that its numbers depend on.

    Device, batch size, label and paths are no part of it.

    Args:
        model: digest of the architecture and the weights.
        sample: digest of images, order, augmentation and the model's input.
        diagnostic: its name, version and fields count; where it has an `identity()`, that stands for the fields (with
            the content of files that they name, say).
        precision: `fp32`, `fp64` or `bf16`.
        points: the name of each point and of the one that it follows, from which its change is measured.
        objective: identity of the objective, for what depends on one.
        measured: which parameters are measured, where some are frozen.
        readout: how the logits are read, where that is not as nearly everywhere.
    """
    identity = {
        "model": model,
        "sample": sample,
        "diagnostic": diagnostic.name,
        "version": diagnostic.version,
        "fields": diagnostic.identity() if hasattr(diagnostic, "identity") else dataclasses.asdict(diagnostic),
        "precision": precision,
        "points": list(points),
        "objective": objective,
        **({} if readout is None else {"readout": readout}),
    }
    if measured:
        identity["measured"] = list(measured)
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _plan_model(study: Study, text: str, images: SpecImages, device: torch.device) -> PlannedSubject:
    loaded = load_subject(
        text,
        n_forward=study.n_forward,
        seed=study.seed,
        random_weights=study.random_weights,
        size=study.size,
        mean=study.mean,
        std=study.std,
    )
    asking = Asking(study, loaded, images)
    subject = asking.subject
    shared = _shared_record(study, loaded, subject, device)
    jobs, skipped = [], []
    for diagnostic in study.diagnostics:
        try:
            own, parts = asking.job(diagnostic)
        except NotApplicableError as error:
            skipped.append((diagnostic.name, _with_label(str(error), loaded.label)))
            continue
        record = {**_record(study, diagnostic, loaded, own, parts, observes=own is subject), **shared}
        jobs.append(Job(diagnostic=diagnostic, record=record, subject=None if own is subject else own))
    left_out = [{"diagnostic": name, "reason": reason} for name, reason in skipped]
    noted = [dataclasses.replace(job, record={**job.record, "not_applicable": left_out}) for job in jobs]
    return PlannedSubject(subject=subject, jobs=tuple(noted), skipped=tuple(skipped))


def _record(
    study: Study, diagnostic: Any, loaded: LoadedModel, own: Subject, parts: Sequence[str], *, observes: bool
) -> dict[str, Any]:
    """What a job's record says of its own, with the job's digest."""
    sample, *beside = own.samples.values()
    assert isinstance(sample, Sample)
    objective = None if own.objective is None else own.objective.identity()
    digest = job_digest(
        model=loaded.digest,
        sample=" ".join([sample.digest, *(other.digest for other in beside)]),
        diagnostic=diagnostic,
        precision=own.precision,
        points=[(point.name, point.follows) for point in own.points] if observes else (),
        objective=objective,
        measured=diagnostic.identity_in(own) if hasattr(diagnostic, "identity_in") else (),
        readout=readout_identity(own),
    )
    return {
        "job": digest,
        "diagnostic": diagnostic.name,
        "version": diagnostic.version,
        "fields": dataclasses.asdict(diagnostic),
        "data": _data_record(study, sample, loaded.input, None if objective is None else own.augmentation),
        "objective": objective,
        "readout": readout_identity(own),
        "parts": list(parts),
    }


def _with_label(reason: str, label: str) -> str:
    return reason if reason.startswith(f"{label}: ") else f"{label}: {reason}"


def _model_digest(planned: PlannedSubject) -> str:
    return str(planned.jobs[0].record["model"]["digest"]) if planned.jobs else ""


def _something_is_left(planned: Sequence[PlannedSubject]) -> None:
    """Refuses a study of which nothing applies to any model."""
    reasons = [(name, reason) for subject in planned for name, reason in subject.skipped]
    if reasons and not any(subject.jobs for subject in planned):
        name, reason = reasons[0]
        raise NotApplicableError(f"{name} of {reason}")


def _shared_record(study: Study, loaded: LoadedModel, subject: Subject, device: torch.device) -> dict[str, Any]:
    model = {
        "label": loaded.label,
        "spec": loaded.spec.text,
        "weights": loaded.weights,
        "architecture": loaded.architecture,
        "digest": loaded.digest,
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "moment": None if loaded.moment is None else dataclasses.asdict(loaded.moment),
    }
    return {
        "model": model,
        "precision": subject.precision,
        "device": str(device),
        "batch": study.batch,
        "points": [dataclasses.asdict(point) for point in subject.points],
        "unwatched": [
            {"name": missing.name, "reason": missing.reason}
            for missing in (subject.trace.unwatched if subject.trace is not None else ())
        ],
        "times": {"planned": now()},
        "versions": versions(),
    }


def _data_record(study: Study, sample: Sample, input: InputConfig, augmentation: str | None) -> dict[str, Any]:
    return {
        "spec": printable(study.data),
        "split": sample.source.split,
        "augmentation": augmentation,
        "images": len(sample),
        "seed": study.seed,
        "digest": sample.digest,
        "image_digest": sample.image_digest,
        "input": dataclasses.asdict(input),
    }


def _every_name_was_found(names: tuple[str, ...], planned: Sequence[PlannedSubject]) -> None:
    found = {point.name for subject in planned for point in subject.subject.points}
    for name in names:
        if name not in found:
            raise ConfigError(f"points: no model has one called {name!r}; `visionscope points MODEL --all` lists them")
