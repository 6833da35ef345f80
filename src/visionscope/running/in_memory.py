"""Diagnostics of one model, planned and computed as in a study, with their parts in memory instead of a run folder."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from torch import Tensor, nn

from visionscope.core.diagnostic import MeasuringDiagnostic
from visionscope.core.inputs import place_of
from visionscope.core.sample import InputConfig, SampleLike
from visionscope.core.subject import Subject, Update
from visionscope.core.turns import in_turn
from visionscope.core.values import is_whole
from visionscope.data.sample import Sample
from visionscope.errors import ConfigError
from visionscope.models.load import LoadedModel
from visionscope.running.brought import gathered, is_gathered
from visionscope.running.execute import execute
from visionscope.running.handed import check_model, checked_images, checked_labels
from visionscope.running.plan import Job, PlannedSubject
from visionscope.running.samples import HandedImages, SpecImages
from visionscope.running.store import Store
from visionscope.running.study import Study, check_precision
from visionscope.running.subjects import Asking, precision_of
from visionscope.running.wanted import WantedInput


class Memory:
    """The `PartStore` of some jobs of a notebook.

    Args:
        jobs: how many; once each of them has failed, nothing more is computed.

    Attributes:
        errors: the first of each job that failed.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._parts: dict[str, dict[str, list[Any]]] = {}
        self.errors: dict[str, Exception] = {}

    def parts(self, record: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The rows of a job, by part."""
        return self._parts.setdefault(record["job"], {})

    def sweep(self, record: Mapping[str, Any]) -> None: ...

    def write_job(self, record: Mapping[str, Any], **times: Any) -> None: ...

    def write_part(self, record: Mapping[str, Any], part: str, row_type: type, rows: Sequence[Any]) -> None:
        self.parts(record)[part] = list(rows)

    def write_error(self, record: Mapping[str, Any], part: str, error: Exception) -> None:
        self.errors.setdefault(record["job"], error)
        if len(self.errors) == self._jobs:
            raise error

    def is_done(self, record: Mapping[str, Any], part: str, diagnostic: Any) -> bool:
        return part in self.parts(record)

    def log(self, line: str) -> None: ...


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one diagnostic measured.

    Attributes:
        table: its rows.
        images: how many images it looked at.
    """

    table: pa.Table
    images: int


def measured(diagnostic: Any, model: nn.Module | str, images: Any, labels: Any, **asked: Any) -> Measured:
    """One diagnostic of one model.

    Args:
        diagnostic: the question.
        model: as for `measured_together`, like all that follow.
        images: or a data spec of the split that the diagnostic reads.
        labels: of the images.
        **asked: what else that takes.

    Raises:
        VisionscopeError: for a spec or a value that breaks its rule, a model that can't be traced or differentiated,
            images that can't be read.
    """
    found = measured_together((diagnostic,), model, images, labels, **asked)[diagnostic.name]
    if isinstance(found, Exception):
        raise found
    return found


@in_turn
def measured_together(
    diagnostics: Sequence[Any],
    model: nn.Module | str,
    images: Any,
    labels: Any,
    *,
    most_images: int | None = None,
    input: InputConfig | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    update: Update | None = None,
    **asked: Any,
) -> dict[str, Measured | Exception]:
    """Several diagnostics of one model: observers from one pass over the images, the others one after the other.

    Args:
        diagnostics: the questions, each of another name.
        model: a network, or a model spec.
        images: what `running.brought` gathers, normalised images (n, c, h, w), a data spec, or a sample, of which each
            diagnostic reads as many of the first as it asks for.
        labels: class indices (n,), or masks (n, h, w), of images that are no data spec's; not for a diagnostic that
            needs no logits.
        most_images: of a data spec, that observers read; by default as a study's.
        input: how the network wants its images, or how those that are given as numbers were normalised.
        size: height and width of it in pixels, instead of `input`.
        mean: of it, instead of `input`.
        std: of it, instead of `input`.
        update: what the optimizer's last step changed, of a network that is trained meanwhile.
        **asked: keys of a study, where not None: `output`, `output_is` and, for diagnostics of training images,
            `weight_decay`, `label_smoothing` (else 0) and `augmentation` (else `none`).

    Returns:
        By name, what was measured, or the error for which it was not.

    Raises:
        VisionscopeError: for a spec or a value that breaks its rule, images that can't be read.
    """
    check_model(model)
    wanted = WantedInput(model, input, size, mean, std)
    kind, labelled = type(images).__name__, any(map(_needs_labels, diagnostics))
    if is_gathered(images):
        images, own = gathered(images, labels, wanted.known)
        labels = own if labels is not None or labelled else None
    images = checked_images(images)
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if is_whole(given.get("output")):
        given["output"] = str(given["output"])
    _check_asked(diagnostics, images, labels, given)
    given = {"augmentation": "none", "label_smoothing": 0.0, **given}
    given |= {} if most_images is None else {"images": most_images}
    loaded = wanted.loaded(normalised=isinstance(images, str))
    for diagnostic in diagnostics:
        check_precision(diagnostic, precision_of(loaded.model))
    spoken = images if isinstance(images, str) else kind
    if not isinstance(images, str):
        labels = _labels(images, labels, labelled=labelled)
    found: dict[str, Measured | Exception] = {}
    # Apart: an observer needs points, and where a network has none the others go on.
    for group in _groups(diagnostics):
        # Its model and its data are not asked: they come as they are.
        study = Study(models=("network",), data="embedded", diagnostics=group, **given)
        samples = SpecImages(images, study) if isinstance(images, str) else None
        try:
            asking = Asking(study, loaded, samples or HandedImages(images, labels, wanted.of(images)), update)
            found |= _answers(asking, group, loaded, study, spoken)
        except Exception as error:
            found |= dict.fromkeys((diagnostic.name for diagnostic in group), error)
    return found


def _groups(diagnostics: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Those that observe, and those that measure on their own."""
    kinds = [[one for one in diagnostics if isinstance(one, MeasuringDiagnostic) == alone] for alone in (False, True)]
    return [tuple(group) for group in kinds if group]


def _answers(
    asking: Asking, group: Sequence[Any], loaded: LoadedModel, study: Study, images: str
) -> dict[str, Measured | Exception]:
    """What each diagnostic of a group measured, or why not; `images` is their data spec, or what they are."""
    found: dict[str, Measured | Exception] = {}
    observing: list[tuple[Job, int]] = []
    measuring: list[tuple[Job, int]] = []
    for diagnostic in group:
        try:
            own, parts = asking.job(diagnostic)
        except Exception as error:
            found[diagnostic.name] = error
            continue
        observes = own is asking.subject
        record = _record(diagnostic, loaded, own, parts, images)
        job = Job(diagnostic=diagnostic, record=record, subject=None if observes else own)
        (observing if observes else measuring).append((job, len(next(iter(own.samples.values())))))
    for jobs in filter(None, (observing, *([one] for one in measuring))):
        memory, failed = Memory(len(jobs)), {}
        planned = PlannedSubject(subject=asking.subject, jobs=tuple(job for job, _ in jobs))
        try:
            execute([planned], memory, batch=study.batch, device=place_of(loaded.model), bars=False)
        except Exception as error:
            failed = {job.record["job"]: error for job, _ in jobs}
        failed |= memory.errors
        for job, count in jobs:
            name, told = job.record["job"], {**job.record, "job": ""}
            found[name] = failed.get(name) or Measured(Store.reduced(told, memory.parts(job.record)), count)
    return found


def _check_asked(diagnostics: Sequence[Any], images: Any, labels: Any, given: Mapping[str, Any]) -> None:
    """Refuses what would be given for nothing."""
    if not isinstance(images, str) and "augmentation" in given:
        drawn = given["augmentation"]
        raise ConfigError(f"augmentation: is drawn for the images of a data spec only; got {drawn!r}, leave it out")
    if not isinstance(images, Tensor) and labels is not None:
        raise ConfigError("labels: come with the data; give them only with images that are a tensor or an array")
    training = any(getattr(one, "sample", "eval") == "train" for one in diagnostics)
    for name in given:
        if not name.startswith("output") and not training:
            asked = " and ".join(one.name for one in diagnostics)
            looks = "looks" if len(diagnostics) == 1 else "look"
            raise ConfigError(f"{name}: concerns training images, and {asked} {looks} at none; leave it out")


def _needs_labels(diagnostic: Any) -> bool:
    return isinstance(diagnostic, MeasuringDiagnostic) and getattr(diagnostic, "needs_logits", True)


def _labels(images: Tensor | SampleLike, labels: object, *, labelled: bool) -> Tensor | None:
    """The labels of a tensor of images, checked; None where the diagnostics can do without and get none."""
    if not isinstance(images, Tensor) or (labels is None and not labelled):
        return None
    return checked_labels(labels, len(images), (images.shape[2], images.shape[3]))


def _record(diagnostic: Any, loaded: LoadedModel, own: Subject, parts: Sequence[str], images: str) -> dict[str, Any]:
    """What tables need to know of the job, which has no digest, with the diagnostic's name in its place."""
    sample = next(iter(own.samples.values()))
    return {
        "job": diagnostic.name,
        "diagnostic": diagnostic.name,
        "version": diagnostic.version,
        "fields": dataclasses.asdict(diagnostic),
        "model": {"label": loaded.label, "weights": loaded.weights},
        "data": {
            "spec": images,
            "split": sample.source.split if isinstance(sample, Sample) else "",
            "augmentation": own.augmentation if isinstance(sample, Sample) and own.objective is not None else None,
        },
        "precision": own.precision,
        "points": [dataclasses.asdict(point) for point in own.points],
        "parts": list(parts),
    }
