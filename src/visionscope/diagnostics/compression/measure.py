"""One pass over images and their compressed copies: high frequencies, cosines and HSIC of clean with compressed."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visionscope.core.diagnostic import Cost
from visionscope.core.inputs import image_like
from visionscope.core.modes import evaluation_mode
from visionscope.core.sample import SPAN, Batch, InputConfig
from visionscope.core.spans import span_of, spans_of
from visionscope.core.subject import Point, Subject
from visionscope.data.corruptions import to_images, to_pixels
from visionscope.data.jpeg import encoder, recompressed
from visionscope.diagnostics.compression.question import Compression, CompressionRow
from visionscope.diagnostics.outcomes.perturbing import input_of
from visionscope.errors import NotApplicableError, VisionscopeError
from visionscope.numerics.cka import centred_gram, hsic, self_centred
from visionscope.numerics.layouts import join_features, working_type
from visionscope.numerics.spectrum import diagonal_length, diagonal_log_amplitude

GROUP = 32  # images whose Gram matrix is one, as in `similarity`
_PHOTOGRAPHS = (1, 3)
_WIDEST = 8  # tensors of the widest map at a time in a forward pass

Array = NDArray[np.float64]


def identity(asked: Compression) -> dict[str, Any]:
    """The fields, and what encodes."""
    return {**dataclasses.asdict(asked), "encoder": encoder()}


def parts(asked: Compression, subject: Subject) -> Sequence[str]:
    """Spans of 256 images; refused where images are no photographs."""
    channels = len(input_of(subject).mean)
    if channels not in _PHOTOGRAPHS:
        raise NotApplicableError(
            f"{subject.label}: photographs alone are compressed, in colour or grey; this network's images have "
            f"{channels} channels"
        )
    if not subject.points:
        raise NotApplicableError(f"{subject.label}: has no feature maps to compare")
    return spans_of(len(subject.samples[asked.sample]))


def cost(asked: Compression, subject: Subject) -> Cost:
    """A forward pass for an image and each of its copies; the maps of a group with all copies."""
    count = len(subject.samples[asked.sample])
    copies = 1 + len(asked.qualities)
    shown = next(iter(subject.samples[asked.sample].batches(0, 1, 1))).images
    widest = max(point.channels * point.grid[0] * point.grid[1] for point in subject.points)
    return Cost(
        passes=min(SPAN, count) * copies,
        memory=_WIDEST * GROUP * copies * 4 * max(widest, shown.numel()),
        advice=f"take fewer images (--compression.sample_size, now {asked.sample_size}) or qualities",
    )


def measure(asked: Compression, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[CompressionRow]]]:
    """The rows of each part: by point, then by quality."""
    input = input_of(subject)
    sample = subject.samples[asked.sample]
    for part in parts:
        start, stop = span_of(part)
        seen = _Seen(subject.points, asked.levels)
        with evaluation_mode(subject.model), torch.no_grad(), subject.watch(seen.take):
            for batch in sample.batches(start, stop, GROUP):
                seen.begin(batch)
                subject.model(_with_copies(subject, batch, input, asked.levels))
        yield part, list(seen.rows(part, stop - start))


def _with_copies(subject: Subject, batch: Batch, input: InputConfig, qualities: Sequence[int]) -> Tensor:
    """(copies x batch, channel, height, width): the clean images, then those of each quality."""
    pixels = to_pixels(batch.images, input)
    copies = [to_images(recompressed(pixels, quality), input) for quality in qualities]
    like = image_like(subject.model, batch.images.shape[1:])
    return torch.cat([batch.images.to(like), *(copy.to(like) for copy in copies)])


class _Seen:
    """What the images of a part gave, by point and quality."""

    def __init__(self, points: Sequence[Point], qualities: Sequence[int]) -> None:
        self._points, self._qualities = points, qualities
        self._images = 0
        self._positions: list[int] = []
        self._high: dict[tuple[str, int], list[Array]] = {}
        self._cosines: dict[tuple[str, int], list[Array]] = {}
        self._hsic: dict[tuple[str, int], list[float]] = {}

    def begin(self, batch: Batch) -> None:
        """Says which images come next."""
        self._images, self._positions = len(batch.images), batch.positions.tolist()

    def take(self, point: Point, maps: Tensor) -> None:
        """Takes the maps (copies x images, channel, height, width) of one point."""
        copies = torch.split(maps, self._images)
        features = torch.split(join_features(maps).to(working_type(maps)), self._images)
        wide = diagonal_length(point.grid) > 1
        high = _relative_high(maps).reshape(len(copies), -1) if wide else None
        grams = [centred_gram(copy).cpu().double().numpy() for copy in copies] if self._images == GROUP else []
        for place, quality in enumerate(self._qualities, start=1):
            key = (point.name, quality)
            cosines = torch.cosine_similarity(features[0], features[place], dim=1).double().cpu().numpy()
            self._check(point, cosines if high is None else cosines + high[place] - high[0])
            self._cosines.setdefault(key, []).append(cosines)
            if high is not None:
                self._high.setdefault(key, []).append(high[place] - high[0])
            if grams:
                one, other = (self_centred(gram[None]) for gram in (grams[0], grams[place]))
                own = [float(hsic(x, y)[0, 0]) for x, y in ((one, other), (one, one), (other, other))]
                self._hsic.setdefault(key, []).extend(own)

    def rows(self, part: str, images: int) -> Iterator[CompressionRow]:
        """A row per point and quality."""
        for point in self._points:
            for quality in self._qualities:
                key = (point.name, quality)
                cosines = np.concatenate(self._cosines[key])
                high = np.concatenate(self._high[key]) if key in self._high else None
                groups = self._hsic.get(key, [])
                yield CompressionRow(
                    part=part,
                    point=point.name,
                    kind=str(point.kind),
                    stage=point.stage,
                    depth=point.depth,
                    quality=quality,
                    images=images,
                    high_change=None if high is None else float(high.sum()),
                    high_squares=None if high is None else float((high**2).sum()),
                    cosine=float(cosines.sum()),
                    cosine_squares=float((cosines**2).sum()),
                    hsic=tuple(groups),
                    dropped=images - len(groups) // 3 * GROUP,
                    origin=encoder(),
                )

    def _check(self, point: Point, values: Array) -> None:
        bad = ~np.isfinite(values)
        if bad.any():
            place = self._positions[int(bad.argmax())]
            raise VisionscopeError(f"compression at {point.name!r}: non-finite values in image position {place}")


def _relative_high(maps: Tensor) -> Array:
    """(batch,) log-amplitude at the highest half-diagonal frequency less that at 0."""
    amplitudes = diagonal_log_amplitude(maps)
    found: Array = (amplitudes[:, -1] - amplitudes[:, 0]).double().cpu().numpy()
    return found
