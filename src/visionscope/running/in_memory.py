"""One diagnostic of one model, planned and computed as in a study, with its parts in memory instead of a run folder."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from torch import Tensor, nn

from visionscope.core.diagnostic import MeasuringDiagnostic
from visionscope.core.finite import check_finite
from visionscope.core.inputs import place_of
from visionscope.core.sample import InputConfig, SampleLike
from visionscope.core.subject import Subject
from visionscope.core.turns import in_turn
from visionscope.core.values import is_whole
from visionscope.data.sample import Sample
from visionscope.errors import ConfigError
from visionscope.models.ensemble import load_subject
from visionscope.models.load import LoadedModel
from visionscope.models.spec import ModelSpec
from visionscope.running.execute import execute
from visionscope.running.handed import check_model, checked_images, checked_input, checked_labels
from visionscope.running.plan import Job, PlannedSubject
from visionscope.running.samples import HandedImages, SpecImages
from visionscope.running.store import Store
from visionscope.running.study import Study, check_precision
from visionscope.running.subjects import Asking, precision_of
from visionscope.tracing.opaque import check_ready


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


@in_turn
def measured(
    diagnostic: Any,
    model: nn.Module | str,
    images: Tensor | str | SampleLike,
    labels: Tensor | None,
    input: InputConfig | None,
    **asked: Any,
) -> pa.Table:
    """The table of one diagnostic of one model.

    Args:
        diagnostic: the question.
        model: a network, or a model spec.
        images: normalised images (n, c, h, w), a data spec (of the split that the diagnostic reads), or a sample; as
            many of the first of them as the diagnostic reads.
        labels: class indices (n,) of a tensor of images; not for a diagnostic that needs no logits.
        input: normalisation of images that are no data spec's, for what works in pixel space.
        **asked: keys of a study, where not None: `output`, `output_is` and, for a diagnostic of training images,
            `weight_decay`, `label_smoothing` (else 0) and `augmentation` (else `none`).

    Raises:
        VisionscopeError: for a spec or a value that breaks its rule, a model that can't be traced or differentiated,
            images that can't be read.
    """
    check_model(model)
    images, input = checked_images(images), checked_input(input)
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if is_whole(given.get("output")):
        given["output"] = str(given["output"])
    _check_asked(diagnostic, images, labels, given)
    given = {"augmentation": "none", "label_smoothing": 0.0, **given}
    # Its model and its data are not asked: they come as they are.
    study = Study(models=("network",), data="embedded", diagnostics=(diagnostic,), **given)
    loaded = load_subject(model) if isinstance(model, str) else _handed(model)
    check_precision(diagnostic, precision_of(loaded.model))
    if not isinstance(images, str):
        known = loaded.input if isinstance(model, str) else input
        asking = Asking(study, loaded, HandedImages(images, _labels(diagnostic, images, labels), known))
    elif isinstance(model, str):
        asking = Asking(study, loaded, SpecImages(images, study))
    else:
        raise ConfigError(
            "images: a data spec needs a model spec, which tells size and normalisation; for a network given as such "
            "pass a tensor of normalised images or a Sample"
        )
    own, parts = asking.job(diagnostic)
    record, memory = _record(diagnostic, loaded, own, parts, images), Memory()
    job = Job(diagnostic=diagnostic, record=record, subject=None if own is asking.subject else own)
    planned = PlannedSubject(subject=asking.subject, jobs=(job,))
    execute([planned], memory, batch=study.batch, device=place_of(loaded.model), shown=False)
    return Store.reduced(record, memory.parts)


def _check_asked(diagnostic: Any, images: Any, labels: Any, given: Mapping[str, Any]) -> None:
    """Refuses what would be given for nothing."""
    if not isinstance(images, str) and "augmentation" in given:
        drawn = given["augmentation"]
        raise ConfigError(f"augmentation: is drawn for the images of a data spec only; got {drawn!r}, leave it out")
    if not isinstance(images, Tensor) and labels is not None:
        raise ConfigError("labels: come with the data; give them with a tensor of images only")
    for name in given:
        if not name.startswith("output") and getattr(diagnostic, "sample", "eval") != "train":
            raise ConfigError(f"{name}: concerns training images, and {diagnostic.name} looks at none; leave it out")


def _labels(diagnostic: Any, images: Tensor | SampleLike, labels: object) -> Tensor | None:
    """The labels of a tensor of images, checked; None where the diagnostic can do without and gets none."""
    needed = isinstance(diagnostic, MeasuringDiagnostic) and getattr(diagnostic, "needs_logits", True)
    if not isinstance(images, Tensor) or (labels is None and not needed):
        return None
    return checked_labels(labels, len(images))


def _handed(network: nn.Module) -> LoadedModel:
    """A network as if it had been loaded; of its input nothing is known."""
    name = type(network).__name__
    check_ready(network)
    check_finite(network, name)
    return LoadedModel(
        model=network,
        label=name,
        spec=ModelSpec(label=name, source="", name=""),
        weights="as given",
        architecture=name,
        input=InputConfig(size=(0, 0), mean=(), std=()),
        num_classes=None,
        digest="",
    )


def _record(
    diagnostic: Any, loaded: LoadedModel, own: Subject, parts: Sequence[str], images: str | Tensor | SampleLike
) -> dict[str, Any]:
    """What tables need to know of the job, which has no digest."""
    sample = next(iter(own.samples.values()))
    named = isinstance(images, str)
    return {
        "job": "",
        "diagnostic": diagnostic.name,
        "version": diagnostic.version,
        "fields": dataclasses.asdict(diagnostic),
        "model": {"label": loaded.label, "weights": loaded.weights},
        "data": {
            "spec": images if named else type(images).__name__,
            "split": sample.source.split if isinstance(sample, Sample) else "",
            "augmentation": own.augmentation if named and own.objective is not None else None,
        },
        "precision": own.precision,
        "points": [dataclasses.asdict(point) for point in own.points],
        "parts": list(parts),
    }
