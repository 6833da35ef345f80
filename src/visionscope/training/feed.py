"""Batches as a pure function of the step: a training resumes from a number, and processes need not talk."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from visionscope.core.sample import IGNORED, Batch, InputConfig
from visionscope.data.augmentation import frozen_transform, mix
from visionscope.data.draws import Augmentation, check_follows
from visionscope.data.masks import augmented_masks
from visionscope.data.sample import sample_order
from visionscope.data.sources import Source, has_masks
from visionscope.errors import ConfigError, VisionscopeError
from visionscope.training.images import (
    Images,
    crop_and_flip,
    decode,
    labels_of,
    mask_reader,
    normalise,
    plain_reader,
    reader,
)

_IN_MEMORY = 2 * 2**30  # bytes of decoded images up to which they are all held

_Reader = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""A function of indices, their passes and the step, to images and their labels or masks."""


_KEPT: dict[tuple[str, InputConfig], Images] = {}
_MOST_KEPT = 2  # a train and a test split
_keeps = False


def keep_images() -> None:
    """Has this process keep the images that it decodes last, for trainings on the same ones that follow.

    For a worker that trains one network after another: of CIFAR-10 that is ten seconds a training.
    """
    global _keeps
    _keeps = True


def load_images(
    source: Source, config: InputConfig, augmentation: Augmentation | None = None, *, digest: str = ""
) -> Images | Source:
    """All images in memory where they fit into 2 GiB and no resized crop needs the originals, else the source itself.

    Args:
        source: must have a label for every image.
        config: how the model wants its images.
        augmentation: of training images; a padded crop takes the whole image, whatever `config.crop` says.
        digest: of the source, by which `keep_images` knows it again; "" where it is not known.

    Raises:
        ConfigError: for an input configuration that can't be used.
        DataError: when an image can't be read or has no label that the model knows.
    """
    crop = augmentation.crop if augmentation else "centre"
    size = len(source) * len(config.mean) * config.size[0] * config.size[1]
    if crop == "resized" or size > _IN_MEMORY:
        return source
    config = dataclasses.replace(config, crop=1.0) if crop == "pad" else config
    if not _keeps or not digest:
        return decode(source, config)
    key = (digest, config)
    if key not in _KEPT:
        while len(_KEPT) >= _MOST_KEPT:
            del _KEPT[next(iter(_KEPT))]
        _KEPT[key] = decode(source, config)
    return _KEPT[key]


class Feed:
    """Augmented training batches of one process.

    The images are passed through again and again, each pass in a new order, without a seam: place p of the training
    is image `p % n` of the order drawn from (seed, pass p // n), and batch `step` of process `rank` holds the places
    from (step * processes + rank) * batch_size on. So every batch is full, nothing is left out at a pass's end, and
    several processes see what one sees with their batches joined.

    Padded crops and flips of images in memory are drawn for the joint batch of all processes from (seed, step); what
    Pillow does (RandAugment, resized crops, random erasing, and everything for images read from a source) is drawn for
    each image from (seed, pass, its index); Mixup and CutMix, within the batch of a process, from (seed, step, rank).
    Masks are moved as their images are; a pixel from outside the image does not count.

    Args:
        images: in memory, or a source whose images are read each time; see `load_images`.
        config: how the model wants its images.
        augmentation: what is drawn, or None for evaluation's images in random order.
        batch_size: images in the batch of each process.
        seed: of all draws, 0 or more.
        rank: number of this process, from 0.
        processes: how many there are.
        workers: processes that prepare batches ahead in `batches`, on Linux; 0 prepares each when it is asked for. (A
            thread must not: Pillow's augmentations borrow the global generators, which the training draws from, too.)
        chosen: indices of the images to train on, or None for all.

    Raises:
        ConfigError: for a number outside its range, or an augmentation that timm doesn't know or masks can't follow.
        DataError: when an image has no label that the model knows.
    """

    def __init__(
        self,
        images: Images | Source,
        config: InputConfig,
        augmentation: Augmentation | None,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        processes: int = 1,
        workers: int = 0,
        chosen: Tensor | None = None,
    ) -> None:
        for name, value, least in (("batch-size", batch_size, 1), ("seed", seed, 0), ("workers", workers, 0)):
            if value < least:
                raise ConfigError(f"--{name} must be {least} or more; got {value}")
        if not 0 <= rank < processes:
            raise ConfigError(f"rank must be 0 to {processes - 1} of {processes} processes; got {rank}")
        self._chosen = torch.arange(len(images)) if chosen is None else chosen
        if not len(self._chosen):
            raise ConfigError("training needs at least 1 image; got none")
        self._labels, self._augmentation = labels_of(images), augmentation
        self._batch_size, self._seed, self._rank, self._processes = batch_size, seed, rank, processes
        self._workers = workers
        self._read = self._reader(images, config)

    def __len__(self) -> int:
        return len(self._chosen)

    def batch(self, step: int) -> Batch:
        """The batch of a step; the same whenever and wherever it is asked for.

        Args:
            step: from 0.

        Returns:
            Normalised float32 images; `positions` are their indices in the source.

        Raises:
            DataError: when an image can't be read.
        """
        first = (step * self._processes + self._rank) * self._batch_size
        places = torch.arange(first, first + self._batch_size)
        passes, within = places // len(self), places % len(self)
        indices = torch.empty_like(places)
        for turn in set(passes.tolist()):
            indices[passes == turn] = self._order(turn)[within[passes == turn]]
        images, labels = self._read(indices, passes, step)
        if self._augmentation is None or not self._augmentation.mixes:
            return Batch(images, labels, indices)
        share = mix(images, self._augmentation, self._seed, step * self._processes + self._rank)
        shares = torch.full((len(labels),), share, dtype=torch.float64)
        return Batch(images, labels, indices, partners=labels.flip(0), shares=shares)

    def batches(self, first_step: int = 0, last_step: int | None = None) -> Iterator[Batch]:
        """The batches from a step on, prepared ahead by `workers` processes where there are any.

        Args:
            first_step: the step that the first batch is for.
            last_step: the step after the last batch, or None for an endless stream.

        Raises:
            DataError: when an image can't be read, once its batch is due.
        """
        steps = itertools.count(first_step) if last_step is None else range(first_step, last_step)
        if not self._workers or sys.platform != "linux":
            yield from map(self.batch, steps)
            return
        loader = DataLoader(
            _Steps(self),
            batch_size=None,
            sampler=steps,
            num_workers=self._workers,
            multiprocessing_context="fork",  # shares the images in memory
            generator=torch.Generator(),  # else the loader would draw from the global one
        )
        for batch in loader:
            if isinstance(batch, VisionscopeError):
                raise batch
            yield batch

    def _order(self, turn: int) -> Tensor:
        return self._chosen[_order(len(self), self._seed, turn)]

    def _reader(self, images: Images | Source, config: InputConfig) -> _Reader:
        augmentation = self._augmentation
        if augmentation is None:
            plain = plain_reader(images, config)
            return lambda indices, passes, step: plain(indices)
        masks = images.masks if isinstance(images, Images) else None
        if masks is not None or (not isinstance(images, Images) and has_masks(images)):
            check_follows(augmentation)
        by_pillow = augmentation.crop == "resized" or augmentation.rand_augment or augmentation.erase
        if isinstance(images, Images) and not by_pillow:

            def in_memory(indices: Tensor, passes: Tensor, step: int) -> tuple[Tensor, Tensor]:
                pixels = normalise(self._shifted(images.pixels[indices], step), config)
                if masks is None:
                    return pixels, self._labels[indices]
                return pixels, self._shifted(masks[indices][:, None], step, border=IGNORED)[:, 0].long()

            return in_memory
        read = reader(images)
        # Images in memory are already cropped.
        fitted = dataclasses.replace(config, crop=1.0) if isinstance(images, Images) else config
        transform = frozen_transform(fitted, augmentation, self._seed)

        move = _mask_mover(images, config, augmentation, self._seed)

        def one_by_one(indices: Tensor, passes: Tensor, step: int) -> tuple[Tensor, Tensor]:
            pairs = list(zip(indices.tolist(), passes.tolist(), strict=True))
            pixels = torch.stack([read(index, partial(transform, index=index, turn=turn)) for index, turn in pairs])
            if move is None:
                return pixels, self._labels[indices]
            return pixels, torch.stack([move(index, turn) for index, turn in pairs]).long()

        return one_by_one

    def _shifted(self, pixels: Tensor, step: int, *, border: int = 0) -> Tensor:
        """Padded crops and flips, drawn for all processes, of which this one takes its part."""
        assert self._augmentation is not None
        padding = self._augmentation.padding if self._augmentation.crop == "pad" else 0
        generator = torch.Generator().manual_seed(_number(f"{self._seed}/step/{step}"))
        joint = self._processes * self._batch_size
        mine = slice(self._rank * self._batch_size, (self._rank + 1) * self._batch_size)
        tops, lefts = torch.randint(2 * padding + 1, (2, joint), generator=generator)
        mirrored = torch.rand(joint, generator=generator) < self._augmentation.flip
        return crop_and_flip(pixels, tops[mine], lefts[mine], mirrored[mine], padding, border=border)


def _mask_mover(
    images: Images | Source, config: InputConfig, augmentation: Augmentation, seed: int
) -> Callable[[int, int], Tensor] | None:
    """A function of an index and a pass to the mask of an image that is read from its source; None without masks."""
    if isinstance(images, Images) or not has_masks(images):
        return None
    read, transform = mask_reader(images), augmented_masks(config, augmentation, seed)
    return lambda index, turn: read(index, lambda mask: transform(mask, index, turn))


class _Steps(Dataset[Batch | VisionscopeError]):
    """The feed as torch's loader wants it; errors are handed over, else they would come back as a process's trace."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def __getitem__(self, step: int) -> Batch | VisionscopeError:
        try:
            return self._feed.batch(step)
        except VisionscopeError as error:
            return error


@lru_cache(maxsize=4)  # a batch may lie in two passes
def _order(count: int, seed: int, turn: int) -> Tensor:
    return torch.from_numpy(sample_order(count, _number(f"{seed}/pass/{turn}")))


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")
