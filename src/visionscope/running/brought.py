"""Images in the forms that people have them - arrays, DataLoaders, lists of (image, label) - as one tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visionscope.core.sample import InputConfig
from visionscope.core.values import is_whole, shown
from visionscope.data.augmentation import evaluation_transform
from visionscope.data.decode import to_rgb
from visionscope.errors import ConfigError

MOST_BYTES = 4 * 2**30
"""Of images that are gathered in memory; of more than that, the user chooses some."""
_PAIR = 2
_TENSOR_AXES = 4


def is_gathered(images: object) -> bool:
    """Whether images come one by one or batch by batch, and are gathered first.

    Args:
        images: as a notebook gave them.
    """
    loaders = (torch.utils.data.DataLoader, torch.utils.data.Dataset)
    return isinstance(images, (list, tuple, np.ndarray, *loaders))


def gathered(images: Any, labels: Any, wanted: Callable[[], InputConfig]) -> tuple[Any, Any]:
    """Images as one tensor, with the labels that came with them.

    Args:
        images: what `is_gathered` says yes to.
        labels: those that were given apart from the images, or None.
        wanted: tells how the network wants its images; asked where they are PIL images, which are resized and
            normalised here.

    Returns:
        The images as a tensor, and the labels: a tensor, or None where there are none.

    Raises:
        ConfigError: for what can't be stacked, labels that are given twice or to some images alone, and images that
            take too much memory.
        DataError: for a PIL image that can't be converted.
    """
    if isinstance(images, np.ndarray):
        return tensor_of("images", images), labels
    if isinstance(images, torch.utils.data.DataLoader):
        # Drawing the order and the workers' seeds is the loader's doing, and leaves torch's generator as it was.
        with torch.random.fork_rng(devices=[]):
            found = _joined(list(_within_memory(map(_batch_of, images), _length(images))), torch.cat)
    else:
        convert = _Converting(wanted)
        pairs = (convert.pair(place, item) for place, item in enumerate(_items(images)))
        found = _joined(list(_within_memory(pairs, _length(images))), torch.stack)
    stacked, own = found
    if own is not None and labels is not None:
        raise ConfigError("labels: come with the images; leave them out")
    return stacked, labels if own is None else own


def shape_of(images: Any, wanted: Callable[[], InputConfig]) -> tuple[int, int, int]:
    """Channels, height and width of images, of which one is looked at.

    Args:
        images: a tensor, a sample, or what `is_gathered` says yes to.
        wanted: as for `gathered`.

    Raises:
        ConfigError: for none of these, and for no image.
    """
    many = isinstance(images, (list, tuple))
    if is_whole(images) or (many and images and all(map(is_whole, images))):
        raise ConfigError(f"images: must be images; got {shown(images)}, pass size={shown(images)}")
    if many:
        images = images[:1]
    if isinstance(images, torch.utils.data.DataLoader):
        with torch.random.fork_rng(devices=[]):
            images = next((_batch_of(batch)[0] for batch in images), torch.empty(0))
    elif isinstance(images, torch.utils.data.Dataset):
        images = [images[0]]
    if is_gathered(images):
        images, _ = gathered(images, None, wanted)
    if hasattr(images, "batches"):
        images = next(iter(images.batches(0, 1, 1))).images
    if not isinstance(images, Tensor) or images.ndim != _TENSOR_AXES or not images.numel():
        got = _described(images)
        raise ConfigError(f"images: must be those that the network takes, (n, channels, height, width); got {got}")
    channels, height, width = images.shape[1:]
    return channels, height, width


def tensor_of(parameter: str, array: Any) -> Tensor:
    """A numpy array as a tensor.

    Args:
        parameter: for errors.
        array: of numbers.

    Raises:
        ConfigError: for an array of objects or texts, or one with masked values.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise ConfigError(f"{parameter}: must be a plain array; got a masked one, call .filled() on it first")
    try:
        # A copy: torch warns of arrays that can't be written to, and refuses negative strides and foreign byte orders.
        return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
    except TypeError as error:
        raise ConfigError(f"{parameter}: must be an array of numbers that torch knows; got {array.dtype}") from error


def _items(images: Any) -> Iterator[Any]:
    if isinstance(images, (list, tuple)):
        yield from images
        return
    if not hasattr(images, "__getitem__") or not hasattr(images, "__len__"):
        raise ConfigError("images: an iterable Dataset has no fixed images; pass a list of them, or a DataLoader")
    for place in range(len(images)):  # not every Dataset ends with an IndexError
        yield images[place]


def _length(images: Any) -> int | None:
    try:
        return len(images)
    except TypeError:  # of an iterable Dataset
        return None


def _batch_of(batch: Any) -> tuple[Tensor, Any]:
    """Images and labels of what a DataLoader yields."""
    pair = batch if isinstance(batch, (list, tuple)) else (batch,)
    if not 1 <= len(pair) <= _PAIR or not isinstance(pair[0], Tensor):
        keys = f" with the keys {shown(list(batch))}" if isinstance(batch, dict) else ""
        raise ConfigError(
            f"images: a DataLoader must yield images or (images, labels), as tensors; got {_described(batch)}{keys}"
        )
    if pair[0].ndim != _TENSOR_AXES:
        raise ConfigError(
            "images: a DataLoader must yield images (batch, channels, height, width); "
            f"got a tensor of shape {tuple(pair[0].shape)}"
        )
    if len(pair) < _PAIR:
        return pair[0], None
    labels = pair[1] if isinstance(pair[1], Tensor) else torch.as_tensor(np.asarray(pair[1]))
    return pair[0], labels


class _Converting:
    """Makes a tensor of each item of a list or a Dataset."""

    def __init__(self, wanted: Callable[[], InputConfig]) -> None:
        self._wanted = wanted
        self._transform: Callable[[Any], Tensor] | None = None

    def pair(self, place: int, item: Any) -> tuple[Tensor, Any]:
        pair = item if isinstance(item, (list, tuple)) else (item,)
        if not 1 <= len(pair) <= _PAIR:
            raise ConfigError(f"images: item {place} must be an image or (image, label); got {shown(item)}")
        image = self._image(place, pair[0])
        if len(pair) < _PAIR:
            return image, None
        try:
            return image, torch.as_tensor(pair[1])
        except (TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(f"labels: must be class indices; got {shown(pair[1])} with image {place}") from error

    def _image(self, place: int, image: Any) -> Tensor:
        if type(image).__module__.startswith("PIL."):
            self._transform = self._transform or evaluation_transform(self._wanted())
            return self._transform(to_rgb(image, str(place)))
        if isinstance(image, np.ndarray):
            image = tensor_of("images", image)
        if not isinstance(image, Tensor):
            raise ConfigError(
                f"images: item {place} must be a tensor, an array or a PIL image, alone or with its label; "
                f"got {_described(image)}"
            )
        if image.ndim == _TENSOR_AXES:
            raise ConfigError(
                f"images: item {place} is a batch, of shape {tuple(image.shape)}; pass one tensor, torch.cat(images), "
                "and the labels apart"
            )
        return image


def _within_memory(pairs: Iterable[tuple[Tensor, Any]], length: int | None) -> Iterator[tuple[Tensor, Any]]:
    """The same pairs; refuses more than memory should hold, as soon as that can be foreseen."""
    total = 0
    for count, (images, labels) in enumerate(pairs, start=1):
        size = images.numel() * images.element_size()
        total += size
        foreseen = max(total, size * length) if count == 1 and length else total
        if foreseen > MOST_BYTES:
            raise ConfigError(
                f"images: they are gathered in memory, and take {foreseen / 2**30:.1f} GiB or more; at most "
                f"{MOST_BYTES / 2**30:g} are taken. Choose some: torch.utils.data.Subset(dataset, range(1000))"
            )
        yield images, labels


def _joined(pairs: list[tuple[Tensor, Any]], join: Callable[[list[Tensor]], Tensor]) -> tuple[Tensor, Tensor | None]:
    if not pairs:
        raise ConfigError("images: must be one or more; got none")
    images, labels = [image for image, _ in pairs], [label for _, label in pairs if label is not None]
    kinds = {(tuple(image.shape[-3:]), image.dtype) for image in images}
    if len(kinds) > 1:
        (one, other), *_ = zip(*sorted(kinds, key=str)[:2], strict=True)
        raise ConfigError(f"images: must all have one shape and type; got {shown(one)} and {shown(other)}")
    if labels and len(labels) < len(pairs):
        raise ConfigError(f"labels: must come with every image or with none; got {len(labels)} for {len(pairs)} images")
    if len({tuple(label.shape[join is torch.cat :]) for label in labels}) > 1:
        raise ConfigError("labels: must be one class index per image; got labels of several shapes")
    return join(images), join(labels) if labels else None


def _described(value: Any) -> str:
    if isinstance(value, (Tensor, np.ndarray)):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    return shown(value) if isinstance(value, (str, int, float, type(None))) else type(value).__name__
