"""Reading the heads of attention over some images: the rows of one part."""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visionscope.core.inputs import image_like
from visionscope.core.spans import span_of
from visionscope.core.subject import Subject
from visionscope.diagnostics.attention.question import AttentionRow
from visionscope.diagnostics.outcomes import passes
from visionscope.errors import DataError
from visionscope.numerics.attention import (
    head_diversity,
    mean_distance,
    mean_entropy,
    mutual_information,
    sink_value_norm,
    sinks,
    uniform_distance,
)
from visionscope.tracing.attention import Attention
from visionscope.tracing.read_attention import read_attention
from visionscope.tracing.tokens import Tokens

_WITHOUT_SPREAD = ("entropy_share", "sink_is_prefix")
_NUMBERS = (
    "distance",
    "entropy",
    "entropy_share",
    "diversity",
    "mutual_information",
    "sink_share",
    "sink_is_prefix",
    "sink_value_norm",
)


class Reading:
    """What the heads of one model do over the images of one part."""

    def __init__(self, subject: Subject, sample: str, attentions: Sequence[Attention], part: str) -> None:
        self._subject, self._sample, self._part = subject, sample, part
        self._attentions = attentions
        self._alone = int(part.removeprefix("image-")) if part.startswith("image-") else None
        self._span = span_of(part) if self._alone is None else (self._alone, self._alone + 1)
        self._values: dict[Attention, list[NDArray[np.float64]]] = {one: [] for one in attentions}
        self._value_norms: dict[Attention, list[NDArray[np.float64]]] = {one: [] for one in attentions}
        self._sinks: dict[Attention, Tensor] = {}  # of the batch at hand
        self._maps: dict[Attention, NDArray[np.float64]] = {}

    def rows(self) -> Iterator[AttentionRow]:
        """Measures the part."""
        self._read()
        by_point: dict[str, list[Attention]] = {}
        for one in self._attentions:
            by_point.setdefault(one.point.name, []).append(one)
        for attentions in by_point.values():
            readable = [one for one in attentions if one.is_readable]
            heads = sum(one.heads for one in readable)
            first = 0
            for one in readable:
                values = self._all_values(one)
                for head in range(one.heads):
                    yield self._row(one, values[:, :, head], heads, first + head, head)
                first += one.heads
            if readable:
                # Each attention has its own number of keys and hence of windows: heads are what is averaged over.
                values = np.concatenate([self._all_values(one) for one in readable], axis=2).mean(2)
                # Where one has no distance the mean over heads has none.
                largest = max(readable, key=lambda one: (not _is_placed(one), _placed(one)[1].count))
                yield self._row(largest, values, heads)
            for one in attentions:
                if not one.is_readable:
                    yield self._row(one, None, heads)

    def _all_values(self, one: Attention) -> NDArray[np.float64]:
        """(images, numbers, heads); NaN where one has no such number."""
        values = np.concatenate(self._values[one])
        norms = self._value_norms[one]
        last = np.concatenate(norms) if norms else np.full_like(values[:, 0], math.nan)
        return np.concatenate([values, last[:, None]], axis=1)

    def _read(self) -> None:
        subject, (start, stop) = self._subject, self._span
        # Before attention is read: the passes that try types must not be taken for those of the images.
        like = image_like(subject.model, shape_of_images(subject))
        batch: list[int] = []

        def take(attention: Attention, probabilities: Tensor) -> None:
            with torch.autocast(probabilities.device.type, enabled=False):
                high = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32))
                self._values[attention].append(self._measured(attention, high, batch))
                if self._alone is not None and _is_placed(attention):
                    self._maps[attention] = received(attention, high[0]).double().cpu().numpy()

        def take_values(attention: Attention, values: Tensor) -> None:
            with torch.autocast(values.device.type, enabled=False):
                high = values.to(torch.promote_types(values.dtype, torch.float32))
                self._value_norms[attention].append(self._value_norm(attention, high, batch))

        reading = read_attention(subject.model, subject.trace, self._attentions, take, take_values)
        with passes.passes(subject), reading:
            for images in subject.samples[self._sample].batches(start, stop, passes.BATCH):
                batch[:] = images.positions.tolist()
                subject.model(images.images.to(like))

    def _measured(self, attention: Attention, probabilities: Tensor, positions: Sequence[int]) -> NDArray[np.float64]:
        """(images, numbers but the last, heads); NaN where one has no such number."""
        place = _place(attention, probabilities.device)
        asked = probabilities[..., place.first_query :, :]
        given = asked[..., place.first_key :]
        entropy = mean_entropy(asked, place.queries)
        several = probabilities.shape[2] > 1
        share, which = sinks(asked, place.queries, place.all_keys)
        self._sinks[attention] = which
        values = torch.stack(
            [
                mean_distance(given, place.lengths, place.queries, place.keys),
                entropy,
                entropy / max(math.log(probabilities.shape[-1]), 1e-300),
                head_diversity(asked, place.queries) if several else torch.zeros_like(entropy),
                mutual_information(given, place.queries, place.keys),
                share,
                (which < place.first_key).to(entropy).mean(1),
            ],
            dim=1,
        )
        found = _checked(attention, values, positions)
        for name, known in (
            ("distance", _is_placed(attention)),
            ("diversity", several),
            ("sink_is_prefix", place.first_key > 0),
        ):
            if not known:
                found[:, _NUMBERS.index(name)] = math.nan
        return found

    def _value_norm(self, attention: Attention, values: Tensor, positions: Sequence[int]) -> NDArray[np.float64]:
        """(images, heads)."""
        place = _place(attention, values.device)
        norms = torch.linalg.vector_norm(values, dim=-1)
        found = sink_value_norm(norms, self._sinks[attention], place.queries, place.all_keys)
        return _checked(attention, found[:, None], positions)[:, 0]

    def _row(
        self,
        one: Attention,
        values: NDArray[np.float64] | None,
        heads: int,
        head: int | None = None,
        own: int = 0,
    ) -> AttentionRow:
        """The row of one head, of the mean over heads, or of an attention that can't be read (no values)."""
        point, (start, stop) = one.point, self._span
        measured: dict[str, float | None] = {}
        diagonal = math.hypot(*shape_of_images(self._subject)[1:])
        place = None if values is None else _place(one, "cpu")
        for number, name in enumerate(_NUMBERS):
            series = np.full(1, math.nan) if values is None else values[:, number]
            mean = None if np.isnan(series).any() else float(series.mean())
            measured[name] = mean
            if name not in _WITHOUT_SPREAD:
                measured[f"{name}_deviation"] = None if mean is None else float(((series - mean) ** 2).sum())
        shown = self._maps[one][own] if head is not None and one in self._maps else np.empty(0)
        keys = one.keys
        return AttentionRow(
            part=self._part,
            images=stop - start,
            point=point.name,
            stage=point.stage,
            depth=point.depth,
            head=head,
            heads=heads,
            reach=_reach(one),
            tokens=keys.count if keys else 0,
            prefix_tokens=keys.prefix if keys else 0,
            **measured,
            diagonal=diagonal,
            uniform_distance=place.uniform if place and _is_placed(one) else None,
            image=self._alone,
            map=tuple(shown.tolist()),
            map_width=keys.grid[1] if keys and len(shown) else 0,
            map_of="" if not len(shown) else "class token" if _asks_alone(one) else "mean over queries",
            note=one.note,
        )


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where the tokens of an attention lie, as its measures want it."""

    first_query: int
    first_key: int
    queries: Tensor
    keys: Tensor
    all_keys: Tensor  # those without a place in front
    lengths: Tensor
    uniform: float


@functools.lru_cache(maxsize=256)
def _place(attention: Attention, device: torch.device | str) -> _Place:
    queries, keys = _placed(attention)
    lengths = torch.cdist(queries.pixels, keys.pixels, compute_mode="donot_use_mm_for_euclid_dist")
    before = torch.ones((len(keys.inside), keys.prefix), dtype=torch.bool)
    return _Place(
        first_query=queries.prefix,
        first_key=keys.prefix,
        queries=queries.inside.to(device),
        keys=keys.inside.to(device),
        all_keys=torch.cat([before, keys.inside], dim=1).to(device),
        lengths=lengths.to(device),
        uniform=uniform_distance(lengths, queries.inside, keys.inside, queries.side[:, :, None] == keys.side[:, None]),
    )


def _checked(attention: Attention, values: Tensor, positions: Sequence[int]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values.double().cpu().numpy()
    if not np.isfinite(found).all():
        image = positions[int((~np.isfinite(found)).any((1, 2)).argmax())]
        raise DataError(f"attention at {attention.point.name!r}: not finite in image position {image}")
    return found


def _placed(attention: Attention) -> tuple[Tokens, Tokens]:
    assert attention.queries is not None
    assert attention.keys is not None
    return attention.queries, attention.keys


def _is_placed(attention: Attention) -> bool:
    return all(tokens is not None and tokens.are_placed for tokens in (attention.queries, attention.keys))


def _reach(attention: Attention) -> str:
    if attention.keys is None or not attention.keys.are_placed:
        return ""
    if len(attention.keys.positions) == 1:
        return "global"
    return "shifted windows" if "shift" in attention.point.operations else "windows"


def _asks_alone(attention: Attention) -> bool:
    """Whether the first token is a class token, whose attention is what a map shows."""
    return attention.queries is not None and attention.queries.prefix > 0


def received(attention: Attention, probabilities: Tensor) -> Tensor:
    """The attention that each place receives from the class token, or on average from the queries that can see it.

    Args:
        attention: one that can be read.
        probabilities: (windows, heads, queries, keys) of one image.

    Returns:
        (heads, rows * columns) of the keys' grid, as it lies on the image.
    """
    queries, keys = _placed(attention)
    given = probabilities[..., keys.prefix :]
    if _asks_alone(attention):
        given = given[:, :, 0]
    else:
        counted = queries.inside.to(given)
        given = torch.einsum("wnqk,wq->wnk", given[:, :, queries.prefix :], counted) / counted.sum(1)[:, None, None]
    inside = keys.inside.to(given.device)
    place = (keys.positions[..., 0] * keys.grid[1] + keys.positions[..., 1]).to(given.device)[inside]
    flat = given.new_zeros(given.shape[1], math.prod(keys.grid))
    seen = given.new_zeros(math.prod(keys.grid)).index_add(0, place, given.new_ones(len(place)))
    return flat.index_add(1, place, given.transpose(0, 1)[:, inside]) / seen.clamp(min=1)


def shape_of_images(subject: Subject) -> tuple[int, int, int]:
    """Channels, height and width of a subject's images; of a tensor's their own.

    Args:
        subject: with its sample `eval`.
    """
    if subject.input is not None:
        return (len(subject.input.mean), *subject.input.size)
    channels, height, width = next(iter(subject.samples["eval"].batches(0, 1, 1))).images.shape[1:]
    return channels, height, width
