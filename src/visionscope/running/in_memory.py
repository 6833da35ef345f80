"""One diagnostic of one model in memory: no run folder, no parts on disk, the same numbers."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from visionscope.core.diagnostic import MeasuringDiagnostic
from visionscope.core.finite import check_finite
from visionscope.core.objective import Objective
from visionscope.core.rules import values_of
from visionscope.core.sample import Batch, InputConfig, SampleLike
from visionscope.core.spans import span_of, spans_of
from visionscope.core.subject import Subject
from visionscope.core.table import to_table
from visionscope.core.turns import in_turn
from visionscope.core.values import is_whole
from visionscope.data.augmentation import paper_augmentation
from visionscope.data.draws import STRENGTHS
from visionscope.data.sample import Sample
from visionscope.data.sources import open_source
from visionscope.errors import ConfigError
from visionscope.models.ensemble import load_subject
from visionscope.models.load import LoadedModel
from visionscope.running.execute import observe
from visionscope.running.handed import check_model, checked_images, checked_input, checked_labels
from visionscope.running.measuring import measure
from visionscope.running.plan import check_precision
from visionscope.running.readouts import Reading
from visionscope.running.samples import classes_of, samples_of
from visionscope.running.store import data_text, with_leading
from visionscope.running.study import Study
from visionscope.running.subjects import asks_predictions, check_seen, looked_into, precision_of, scopes_of, unwatched
from visionscope.tracing import watch
from visionscope.tracing.opaque import check_ready

_IMAGES = 256
_BATCH = 32
_AS_GIVEN = "as given"


@in_turn
def observed(diagnostic: Any, model: nn.Module | str, images: Tensor | str | SampleLike) -> pa.Table:
    """The table of an observing diagnostic.

    Args:
        diagnostic: the question.
        model: a network, or a model spec.
        images: normalised images (n, c, h, w), a data spec, or a sample.

    Raises:
        VisionscopeError: for a spec that breaks its rule, a model that can't be traced, images that can't be read.
    """
    network, loaded = _network(model)
    images = checked_images(images)
    if isinstance(images, str):
        sample: SampleLike = Sample(open_source(images), _input(loaded), _IMAGES, 0)
    else:
        sample = _Images(images) if isinstance(images, Tensor) else images
    subject = _subject(network, loaded, sample, "eval", points_needed=True)
    check_seen(diagnostic, subject)
    reduced = diagnostic.observer(subject.points)
    for part in spans_of(len(sample)):
        observer = diagnostic.observer(subject.points)
        errors = observe(subject, {diagnostic.name: observer}, span_of(part), batch=_BATCH)
        for error in errors.values():
            raise error
        reduced.load(observer.state())
    data = images if isinstance(images, str) else type(images).__name__
    return _with_leading(to_table(diagnostic.row, reduced.rows()), subject, loaded, data)


@in_turn
def measured(
    diagnostic: MeasuringDiagnostic,
    model: nn.Module | str,
    images: Tensor | str | SampleLike,
    labels: Tensor | None,
    objective: Objective | None,
    augmentation: str | None = None,
    input: InputConfig | None = None,
    output: str | int | None = None,
    output_is: str | None = None,
) -> pa.Table:
    """The table of a measuring diagnostic.

    Args:
        diagnostic: the question.
        model: a network, or a model spec.
        images: normalised images (n, c, h, w), a data spec (of the split that the diagnostic reads), or a sample; as
            many of the first of them as the diagnostic reads.
        labels: class indices (n,) of a tensor of images; not for a diagnostic that needs no logits.
        objective: the loss, for what needs one.
        augmentation: `strong`, `weak` or `none`, of a data spec's training images; `none` by default.
        input: size and normalisation of images that are no data spec's, for what works in pixel space.
        output: which output of a network that returns several is the logits, by name or index.
        output_is: `logits`, `probabilities` or None; see `core.logits.Readout`.

    Raises:
        VisionscopeError: for a spec or a value that breaks its rule, a model that can't be traced or differentiated,
            images that can't be read.
    """
    network, loaded = _network(model)
    images, input = checked_images(images), checked_input(input)
    values = values_of(Study)
    named: str | None = values["output"].checked("output", str(output) if is_whole(output) else output)
    output_is = values["output_is"].checked("output_is", output_is)
    if augmentation is not None:
        values["augmentation"].checked("augmentation", augmentation)
    check_precision(diagnostic, precision_of(network))
    if not isinstance(images, str) and augmentation is not None:
        raise ConfigError(
            f"augmentation: is drawn for the images of a data spec only; got {augmentation!r}, leave it out"
        )
    if not isinstance(images, Tensor) and labels is not None:
        raise ConfigError("labels: come with the data; give them with a tensor of images only")
    read = functools.partial(
        Reading,
        loaded.label if loaded is not None else type(network).__name__,
        network,
        output=named,
        output_is=output_is,
        stated=None if loaded is None else loaded.num_classes,
    )
    if isinstance(images, str):
        config = _input(loaded)
        reading = read((len(config.mean), *config.size))
        samples, data = _opened(diagnostic, images, config, augmentation, reading)
        strength = augmentation or "none"
    else:
        samples = _shared_out(diagnostic, _sample(diagnostic, images, labels))
        strength, data = _strength(images), type(images).__name__
        reading = read(tuple(next(iter(samples[diagnostic.sample].batches(0, 1, 1))).images.shape[1:]))
    known = loaded.input if loaded is not None else input
    subject = dataclasses.replace(
        _subject(
            network,
            loaded,
            samples[diagnostic.sample],
            diagnostic.sample,
            predictions=asks_predictions(diagnostic),
        ),
        samples=samples,
        objective=objective,
        augmentation=strength,
        input=known,
    )
    check_seen(diagnostic, subject)
    if getattr(diagnostic, "needs_logits", True):
        classes = None if hasattr(diagnostic, "source") else classes_of(samples[diagnostic.sample])
        subject = dataclasses.replace(subject, readout=reading.readout(classes))
    parts = diagnostic.parts(subject)
    rows = [row for _, some in measure(diagnostic, subject, parts) for row in some]
    return _with_leading(to_table(diagnostic.row, rows), subject, loaded, data)


def _opened(
    diagnostic: Any, spec: str, config: InputConfig, augmentation: str | None, reading: Reading
) -> tuple[dict[str, SampleLike], str]:
    """The samples that a diagnostic reads of a data spec, and what tables call the data."""
    samples = samples_of(
        diagnostic,
        spec,
        functools.partial(open_source, spec),
        config,
        num_classes=reading.classes() if getattr(diagnostic, "needs_logits", True) else None,
        seed=0,
        augmentation=augmentation or "none",
    )
    training = diagnostic.sample == "train"
    strength = (augmentation or "none") if training else None
    split = samples[diagnostic.sample].source.split
    return dict(samples), data_text({"spec": spec, "split": split, "augmentation": strength})


def _shared_out(diagnostic: Any, whole: SampleLike) -> dict[str, SampleLike]:
    """The samples that a diagnostic reads of images that were handed in."""
    count = diagnostic.images(len(whole))
    samples: dict[str, SampleLike] = {diagnostic.sample: _Slice(whole, 0, count)}
    for name in getattr(diagnostic, "beside", ()):
        if name != "calibration":
            raise ConfigError(f"images: {diagnostic.name} reads two splits; name a data spec such as 'embedded'")
        samples[name] = _Slice(whole, count, diagnostic.images_beside(len(whole)))
    return samples


def _network(model: nn.Module | str) -> tuple[nn.Module, LoadedModel | None]:
    check_model(model)
    if isinstance(model, nn.Module):
        check_ready(model)
        check_finite(model, type(model).__name__)
        return model, None
    loaded = load_subject(model)
    return loaded.model, loaded


def _input(loaded: LoadedModel | None) -> InputConfig:
    if loaded is None:
        raise ConfigError(
            "images: a data spec needs a model spec, which tells size and normalisation; for a network given as such "
            "pass a tensor of normalised images or a Sample"
        )
    return loaded.input


def _subject(
    network: nn.Module,
    loaded: LoadedModel | None,
    sample: SampleLike,
    name: str,
    *,
    points_needed: bool = False,
    predictions: bool = False,
) -> Subject:
    subject = Subject(
        label=loaded.label if loaded is not None else type(network).__name__,
        model=network,
        points=(),
        watch=unwatched,
        samples={name: sample},
        precision=precision_of(network),
        fraction=None if loaded is None else loaded.fraction,
    )
    example = next(iter(sample.batches(0, min(2, len(sample)), 2))).images
    traced = looked_into(network, example, points_needed=points_needed, predictions=predictions)
    if isinstance(traced, str):
        return dataclasses.replace(subject, hidden=traced)
    channels, height, width = example.shape[1:]
    # Of the input, scopes need no more than the shape.
    shape = InputConfig(size=(height, width), mean=(0.0,) * channels, std=(1.0,) * channels)
    return dataclasses.replace(
        subject,
        points=tuple(traced.points),
        watch=functools.partial(watch, network, traced),
        scopes=functools.partial(scopes_of, network, traced, shape),
        trace=traced,
    )


def _with_leading(table: pa.Table, subject: Subject, loaded: LoadedModel | None, data: str) -> pa.Table:
    weights = loaded.weights if loaded is not None else _AS_GIVEN
    leading = {"model": subject.label, "data": data, "weights": weights, "precision": subject.precision, "job": ""}
    return with_leading(table, leading)


def _strength(images: Tensor | SampleLike) -> str:
    """What is known of the augmentation of images that were handed in."""
    if not isinstance(images, Sample):
        return _AS_GIVEN
    recipes = {name: paper_augmentation(name, images.input) for name in STRENGTHS}
    return next((name for name, recipe in recipes.items() if recipe == images.augmentation), _AS_GIVEN)


def _sample(diagnostic: MeasuringDiagnostic, images: Tensor | SampleLike, labels: Tensor | None) -> SampleLike:
    if not isinstance(images, Tensor):
        return images
    if labels is None and not getattr(diagnostic, "needs_logits", True):
        return _Images(images)
    return _Images(images, checked_labels(labels, len(images)))


@dataclasses.dataclass(frozen=True)
class _Images:
    """A tensor of normalised images as a sample."""

    images: Tensor
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        if self.images.is_inference():  # autograd refuses what was made in inference mode
            with torch.inference_mode(False):
                object.__setattr__(self, "images", self.images.clone())

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.images.detach().cpu().contiguous().numpy().tobytes()).hexdigest()

    @property
    def classes(self) -> int | None:
        return None if self.labels is None else int(self.labels.max()) + 1

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        for first in range(start, min(stop, len(self)), batch_size):
            last = min(first + batch_size, stop, len(self))
            labels = None if self.labels is None else self.labels[first:last]
            yield Batch(self.images[first:last], labels, torch.arange(first, last))


@dataclasses.dataclass(frozen=True)
class _Slice:
    """Some neighbouring images of a sample."""

    sample: SampleLike
    first: int
    count: int

    @property
    def digest(self) -> str:
        return f"{self.sample.digest} {self.first} {self.count}"

    @property
    def classes(self) -> int | None:
        return classes_of(self.sample)

    def __len__(self) -> int:
        return self.count

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        for batch in self.sample.batches(self.first + start, self.first + stop, batch_size):
            yield dataclasses.replace(batch, positions=batch.positions - self.first)
