"""One diagnostic of one model, planned and computed as in a study, with its parts in memory instead of a run folder."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from torch import Tensor, nn

from visionscope.core.diagnostic import MeasuringDiagnostic
from visionscope.core.inputs import place_of
from visionscope.core.sample import InputConfig, SampleLike
from visionscope.core.subject import Subject
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
    """The `PartStore` of one job of a notebook; the first part that fails raises its error."""

    def __init__(self) -> None:
        self.parts: dict[str, list[Any]] = {}

    def sweep(self, record: Mapping[str, Any]) -> None: ...

    def write_job(self, record: Mapping[str, Any], **times: Any) -> None: ...

    def write_part(self, record: Mapping[str, Any], part: str, row_type: type, rows: Sequence[Any]) -> None:
        self.parts[part] = list(rows)

    def write_error(self, record: Mapping[str, Any], part: str, error: Exception) -> None:
        raise error

    def is_done(self, record: Mapping[str, Any], part: str, diagnostic: Any) -> bool:
        return part in self.parts

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


@in_turn
def measured(
    diagnostic: Any,
    model: nn.Module | str,
    images: Any,
    labels: Any,
    *,
    input: InputConfig | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **asked: Any,
) -> Measured:
    """One diagnostic of one model.

    Args:
        diagnostic: the question.
        model: a network, or a model spec.
        images: what `running.brought` gathers, normalised images (n, c, h, w), a data spec (of the split that the
            diagnostic reads), or a sample; as many of the first of them as the diagnostic reads.
        labels: class indices (n,), or masks (n, h, w), of images that are no data spec's; not for a diagnostic that
            needs no logits.
        input: how the network wants its images, or how those that are given as numbers were normalised.
        size: height and width of it in pixels, instead of `input`.
        mean: of it, instead of `input`.
        std: of it, instead of `input`.
        **asked: keys of a study, where not None: `output`, `output_is` and, for a diagnostic of training images,
            `weight_decay`, `label_smoothing` (else 0) and `augmentation` (else `none`).

    Raises:
        VisionscopeError: for a spec or a value that breaks its rule, a model that can't be traced or differentiated,
            images that can't be read.
    """
    check_model(model)
    wanted = WantedInput(model, input, size, mean, std)
    kind = type(images).__name__
    if is_gathered(images):
        images, own = gathered(images, labels, wanted.known)
        labels = own if labels is not None or _needs_labels(diagnostic) else None
    images = checked_images(images)
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if is_whole(given.get("output")):
        given["output"] = str(given["output"])
    _check_asked(diagnostic, images, labels, given)
    given = {"augmentation": "none", "label_smoothing": 0.0, **given}
    # Its model and its data are not asked: they come as they are.
    study = Study(models=("network",), data="embedded", diagnostics=(diagnostic,), **given)
    loaded = wanted.loaded(normalised=isinstance(images, str))
    check_precision(diagnostic, precision_of(loaded.model))
    if isinstance(images, str):
        asking = Asking(study, loaded, SpecImages(images, study))
    else:
        asking = Asking(study, loaded, HandedImages(images, _labels(diagnostic, images, labels), wanted.of(images)))
    own, parts = asking.job(diagnostic)
    record, memory = _record(diagnostic, loaded, own, parts, images if isinstance(images, str) else kind), Memory()
    job = Job(diagnostic=diagnostic, record=record, subject=None if own is asking.subject else own)
    planned = PlannedSubject(subject=asking.subject, jobs=(job,))
    execute([planned], memory, batch=study.batch, device=place_of(loaded.model), bars=False)
    return Measured(Store.reduced(record, memory.parts), len(next(iter(own.samples.values()))))


def _check_asked(diagnostic: Any, images: Any, labels: Any, given: Mapping[str, Any]) -> None:
    """Refuses what would be given for nothing."""
    if not isinstance(images, str) and "augmentation" in given:
        drawn = given["augmentation"]
        raise ConfigError(f"augmentation: is drawn for the images of a data spec only; got {drawn!r}, leave it out")
    if not isinstance(images, Tensor) and labels is not None:
        raise ConfigError("labels: come with the data; give them only with images that are a tensor or an array")
    for name in given:
        if not name.startswith("output") and getattr(diagnostic, "sample", "eval") != "train":
            raise ConfigError(f"{name}: concerns training images, and {diagnostic.name} looks at none; leave it out")


def _needs_labels(diagnostic: Any) -> bool:
    return isinstance(diagnostic, MeasuringDiagnostic) and getattr(diagnostic, "needs_logits", True)


def _labels(diagnostic: Any, images: Tensor | SampleLike, labels: object) -> Tensor | None:
    """The labels of a tensor of images, checked; None where the diagnostic can do without and gets none."""
    if not isinstance(images, Tensor) or (labels is None and not _needs_labels(diagnostic)):
        return None
    return checked_labels(labels, len(images), (images.shape[2], images.shape[3]))


def _record(diagnostic: Any, loaded: LoadedModel, own: Subject, parts: Sequence[str], images: str) -> dict[str, Any]:
    """What tables need to know of the job, which has no digest; `images` is their data spec, or what they are."""
    sample = next(iter(own.samples.values()))
    return {
        "job": "",
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
