"""A frozen choice of a source's images: same images, same order, same augmentation, wherever it is made."""

import hashlib
import json
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, fields, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visionscope.core.sample import MINI_BATCH, SPAN, Batch, InputConfig
from visionscope.core.values import Rule, Value, shown
from visionscope.data.augmentation import evaluation_transform, frozen_transform, mix
from visionscope.data.draws import Augmentation
from visionscope.data.embedded import EmbeddedSource
from visionscope.data.masks import augmented_masks, checked_mask, fitted_masks
from visionscope.data.sources import Source, has_masks, label_text
from visionscope.errors import ConfigError, DataError

_THREADS = 2
_AT_ONCE = 1000
_IMAGES = Value(int | None, Rule(least=1))
_SEED = _SKIP = Value(int, Rule(least=0))


class Sample:
    """Fixed images of a source, ready for one model.

    The order is that of random 64-bit keys: key i is the i-th word of numpy's PCG64 seeded with `seed`, images are
    sorted by key, and the first `images` of them are the sample. So a smaller sample is the beginning of a larger
    one, and a batch mixes classes. (With Mixup or CutMix that holds of its whole mini-batches.)

    Masks go through the same resize, by the nearest pixel, the same crops and the same flips as their images.

    Mixup and CutMix draw once per mini-batch of 16 consecutive positions from (seed, its number); image i of a
    mini-batch gets a share of the i-th from its end. The last mini-batch may be smaller and is mixed within itself.

    Args:
        source: where the images come from.
        input: size, crop and normalisation that the model wants.
        images: how many at most (a smaller source gives all it has), or None for all.
        seed: of the order and of the augmentation; 0 or more.
        augmentation: drawn once per image from (seed, index in the source) and per mini-batch, or None for evaluation's
            resize and crop.
        skip: how many images of the order come before the first, such as those of another sample; 0 or more.

    Attributes:
        source: as given.
        input: as given.
        seed: as given.
        augmentation: as given.
        indices: index in the source of each position.

    Raises:
        ConfigError: for fewer than 1 image, a negative seed, an input configuration that can't be used, and an
            augmentation that the source's masks can't follow.
    """

    def __init__(
        self,
        source: Source,
        input: InputConfig,
        images: int | None = 256,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        skip: int = 0,
    ) -> None:
        if not hasattr(source, "image"):
            raise ConfigError(f"source: must be what open_source returns; got {shown(source)}")
        if not isinstance(input, InputConfig):
            raise ConfigError(f"input: must be an InputConfig, such as load_model(...).input; got {shown(input)}")
        if augmentation is not None and not isinstance(augmentation, Augmentation):
            raise ConfigError(f"augmentation: must be an Augmentation or None; got {shown(augmentation)}")
        images = _IMAGES.checked("images", images)
        seed, skip = _SEED.checked("seed", seed), _SKIP.checked("skip", skip)
        self.source = source
        self.input = input
        self.seed = seed
        self.augmentation = augmentation
        stop = None if images is None else skip + images
        self.indices: NDArray[np.int64] = sample_order(len(source), seed)[skip:stop]
        self._evaluate = evaluation_transform(input)
        self._augment = frozen_transform(input, augmentation, seed) if augmentation else None
        self._fit_mask = fitted_masks(input)
        self._move_mask = augmented_masks(input, augmentation, seed) if augmentation and has_masks(source) else None

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def image_digest(self) -> str:
        """Identifies the images' bytes, their order and their augmentation, but not the model's size and normalisation.

        sha256 over the sha256 of each image's content in order and, if there is augmentation, over its fields, the
        seed and the images' indices. Two models that see the same photographs have it in common. An image that can't
        be read counts as empty here and raises when its batch is due, so that it spoils no other.
        """
        digest = hashlib.sha256()
        for place, index in enumerate(self.indices):
            if isinstance(self.source, EmbeddedSource) and place % _AT_ONCE == 0:
                self.source.arrays(
                    self.indices[place : place + _AT_ONCE].tolist()
                )  # several times faster; it keeps them
            digest.update(hashlib.sha256(self._content(int(index))).digest())
        if self.augmentation is not None:
            digest.update(f"{self.augmentation.identity()} {self.seed} ".encode())
            digest.update(self.indices.astype("<i8").tobytes())
        return digest.hexdigest()

    @cached_property
    def digest(self) -> str:
        """Identifies all that the model sees: `image_digest`, labels, size, crop, interpolation and normalisation."""
        digest = hashlib.sha256(self.image_digest.encode())
        digest.update(json.dumps([self._label_text(int(index)) for index in self.indices]).encode())
        digest.update(json.dumps(asdict(self.input), sort_keys=True).encode())
        return digest.hexdigest()

    def batches(self, start: int = 0, stop: int | None = None, batch_size: int = 32) -> Iterator[Batch]:
        """Yields the images at the positions start to stop - 1, in order, the last batch possibly smaller.

        Images are decoded by two threads, one batch ahead; what comes out doesn't depend on that. With augmentation
        they are decoded one after the other. A mini-batch that is mixed is loaded whole, wherever a batch cuts it.

        Args:
            start: first position.
            stop: position after the last, or None for the end.
            batch_size: images per batch, at least 1.

        Raises:
            ConfigError: for positions outside the sample or a batch size below 1.
            DataError: when an image or a label can't be used, naming its file or row, once the batch that holds it is
                due.
        """
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise ConfigError(f"positions must be within 0 to {len(self)}, not {start} to {stop}")
        if batch_size < 1:
            raise ConfigError(f"batch_size must be 1 or more, not {batch_size}")
        if self.augmentation is not None and self.augmentation.mixes:
            return self._mixed(start, stop, batch_size)
        return self._batches(_pieces(start, stop, batch_size))

    def shard(self, rank: int, world: int) -> range:
        """The positions that one of several processes takes: neighbouring whole spans of 256, shared out evenly.

        Args:
            rank: number of the process, from 0.
            world: how many processes there are; where they outnumber the spans, some get none.

        Returns:
            Positions for `batches(shard.start, shard.stop)`; the shards of all ranks follow each other and cover the
            sample.

        Raises:
            ConfigError: for a rank outside 0 to world - 1.
        """
        if not 0 <= rank < world:
            raise ConfigError(f"rank must be 0 to {world - 1} of {world} processes, not {rank}")
        spans = -(-len(self) // SPAN)
        first, last = spans * rank // world, spans * (rank + 1) // world
        return range(min(first * SPAN, len(self)), min(last * SPAN, len(self)))

    def _mixed(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        first, last = start // MINI_BATCH * MINI_BATCH, min(-(-stop // MINI_BATCH) * MINI_BATCH, len(self))
        due = deque(_pieces(start, stop, batch_size))
        held: list[Batch] = []  # mini-batches of which something is still due
        with closing(self._batches(_pieces(first, last, MINI_BATCH))) as mini_batches:
            for mini_batch in mini_batches:
                held.append(self._mix(mini_batch))
                loaded = int(mini_batch.positions[-1]) + 1
                while due and due[0].stop <= loaded:
                    yield _gathered(held, due.popleft())
                held = held if due and due[0].start < loaded else []

    def _mix(self, batch: Batch) -> Batch:
        assert self.augmentation is not None
        share = mix(batch.images, self.augmentation, self.seed, int(batch.positions[0]) // MINI_BATCH)
        partners = None if batch.labels is None else batch.labels.flip(0)
        shares = torch.full((len(batch.positions),), share, dtype=torch.float64)
        return replace(batch, partners=partners, shares=shares)

    def _batches(self, pieces: list[range]) -> Generator[Batch, None, None]:
        threads = ThreadPoolExecutor(_THREADS if self._augment is None else 1, thread_name_prefix="decode")
        waiting: deque[tuple[range, list[Future[tuple[Tensor, Tensor | None]]]]] = deque()
        try:
            for piece in pieces:
                waiting.append((piece, [threads.submit(self._tensors, position) for position in piece]))
                if len(waiting) > 1:
                    yield self._batch(*waiting.popleft())
            while waiting:
                yield self._batch(*waiting.popleft())
        finally:
            threads.shutdown(cancel_futures=True)

    def _batch(self, piece: range, loaded: list[Future[tuple[Tensor, Tensor | None]]]) -> Batch:
        images, masks = zip(*(one.result() for one in loaded), strict=True)
        stacked = torch.stack(images)
        if has_masks(self.source):
            held = [mask for mask in masks if mask is not None]
            return Batch(
                stacked, torch.stack(held).long() if len(held) == len(masks) else None, torch.tensor(list(piece))
            )
        labels = [self.source.label(int(self.indices[position])) for position in piece]
        known = [label for label in labels if label is not None]
        return Batch(stacked, torch.tensor(known) if len(known) == len(labels) else None, torch.tensor(list(piece)))

    def _tensors(self, position: int) -> tuple[Tensor, Tensor | None]:
        """An image, and its mask where its pixels have classes."""
        index = int(self.indices[position])
        image = self.source.image(index)
        mask = checked_mask(self.source, index, image.size) if has_masks(self.source) else None
        try:
            tensor = self._augment(image, index) if self._augment else self._evaluate(image)
            if mask is None:
                return tensor, None
            return tensor, self._move_mask(mask, index, None) if self._move_mask else self._fit_mask(mask)
        # Pillow, torchvision and timm raise many kinds of errors; the file has to be named in each case.
        except Exception as error:
            name = f"{self.source.name(index)} ({image.width} x {image.height})"
            raise DataError(f"image {name} can't be brought to the model's size: {error}") from error

    def _content(self, index: int) -> bytes:
        with suppress(DataError):
            return self.source.content(index)
        return b""

    def _label_text(self, index: int) -> str:
        # A bad label stops those who use labels, when they use them, not those who only look at images.
        with suppress(DataError):
            return label_text(self.source, index)
        return "unusable"


def _pieces(start: int, stop: int, length: int) -> list[range]:
    return [range(first, min(first + length, stop)) for first in range(start, stop, length)]


def _gathered(batches: list[Batch], piece: range) -> Batch:
    """The positions of a piece out of neighbouring batches; it has labels where all of these have."""
    chosen = [cut for cut in (_cut(batch, piece) for batch in batches) if len(cut.positions)]

    def joined(values: list[Tensor | None]) -> Tensor | None:
        known = [value for value in values if value is not None]
        return torch.cat(known) if len(known) == len(values) else None

    return Batch(
        images=torch.cat([batch.images for batch in chosen]),
        labels=joined([batch.labels for batch in chosen]),
        positions=torch.cat([batch.positions for batch in chosen]),
        partners=joined([batch.partners for batch in chosen]),
        shares=joined([batch.shares for batch in chosen]),
    )


def _cut(batch: Batch, piece: range) -> Batch:
    inside = (batch.positions >= piece.start) & (batch.positions < piece.stop)
    kept = {field.name: value[inside] for field in fields(batch) if (value := getattr(batch, field.name)) is not None}
    return replace(batch, **kept)


def sample_order(count: int, seed: int) -> NDArray[np.int64]:
    """A permutation of 0 to count - 1 by sorting random 64-bit keys, the same with every version of numpy.

    Args:
        count: how many.
        seed: of the keys.
    """
    keys = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(count)
    order: NDArray[np.int64] = np.argsort(keys, kind="stable").astype(np.int64)
    return order
