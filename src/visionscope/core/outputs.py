"""Where in what a network returns its logits are: tensors in nested containers, told apart by columns and names."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from visionscope.core.classes import ClassCounts
from visionscope.core.sample import DENSE_AXES
from visionscope.errors import DataError, nearest

Key = str | int
Place = tuple[Key, ...]

_BEST = ("logits",)
_GOOD = (
    "logit",
    "out",
    "output",
    "outputs",
    "pred",
    "preds",
    "prediction",
    "predictions",
    "score",
    "scores",
    "class_logits",
    "cls_logits",
    "y",
    "y_hat",
)
# What no output is called that a prediction is read from.
_NEVER = re.compile(r"(?:^|[^a-z])(?:aux|feat|embed|pool|hidden|attention|latent|repr|loss|proj)", re.IGNORECASE)
_DEEPEST = 4  # containers in containers


def find_place(output: Any, counts: ClassCounts, asked: str = "", images: int | None = None) -> Place:
    """Where in what a network returned the logits are.

    An output that is a tensor is the logits: (batch, columns), or (batch, columns, height, width) of a network that
    answers per pixel, which in a container are looked at where no tensor has columns alone. Of several tensors it is
    the chosen one, else the one with as many columns as classes are known, else, or where several have, the one that is
    called `logits`, `out` or the like. One called `aux`, `features`, `embedding` or the like is taken by name alone.

    Args:
        output: of the network.
        counts: the numbers of classes that are known.
        asked: a name or an index; "" for none.
        images: how many were passed; None where that is not known.

    Raises:
        DataError: when none or more than one could be the logits, and for a choice that is not there.
    """
    if isinstance(output, Tensor):
        _check_shape(output, images)
        return ()
    leaves = list(_leaves(output))
    if asked:
        leaves = _asked(output, leaves, asked)
        if len(leaves) == 1:
            _check_shape(leaves[0][1], images)
            return leaves[0][0]
    found = [(place, tensor) for place, tensor in leaves if _could_be(tensor, images)]
    found = found or [(place, tensor) for place, tensor in leaves if _could_be_dense(tensor, images)]
    if not found:
        listed = _listed(leaves) or type(output).__name__
        raise DataError(f"the model's output must be logits (batch, classes) for a loss; got {listed}")
    free = [(place, tensor) for place, tensor in found if not _never(place, asked)]
    chosen = _by_count(free, counts) or _by_count_of_one(free, counts) or ([] if counts.known else free)
    if len(chosen) == 1:
        return chosen[0][0]
    for names in (_BEST, _GOOD) if chosen else (_BEST,):
        named = [place for place, _ in chosen or free if str(place[-1]).lower() in names]
        if len(named) == 1:
            return named[0]
        if named:
            break
    raise DataError(_which(found, chosen, counts))


def dense_places(output: Any, images: int) -> tuple[Place, ...]:
    """Where in what a network returned there could be logits per pixel, by shapes and names.

    Args:
        output: of the network.
        images: how many were passed.
    """
    return tuple(
        place for place, tensor in _leaves(output) if _could_be_dense(tensor, images) and not _never(place, "")
    )


def _never(place: Place, asked: str) -> bool:
    """Whether one of the names that lead to a tensor says that it is no prediction, and the user did not name it."""
    return any(_NEVER.search(str(key)) and str(key) not in asked.split(".") for key in place)


def _by_count(found: list[tuple[Place, Tensor]], counts: ClassCounts) -> list[tuple[Place, Tensor]]:
    """The outputs with as many columns as classes, by what is stated, else by what is likely."""
    for known in (counts.stated, (*counts.heads, *counts.likely)):
        fitting = [(place, tensor) for place, tensor in found if _columns(tensor) in known]
        if fitting:
            return fitting
    return []


def _by_count_of_one(found: list[tuple[Place, Tensor]], counts: ClassCounts) -> list[tuple[Place, Tensor]]:
    """The outputs of a single logit, where there are two classes."""
    return [(place, tensor) for place, tensor in found if 2 in counts.known and _columns(tensor) == 1]


def _columns(tensor: Tensor) -> int:
    return tensor.shape[1] if tensor.ndim > 1 else 1


def _could_be(tensor: Tensor, images: int | None) -> bool:
    """Whether a tensor has a row per image; without their number, a vector is told from a loss by nothing."""
    rows = images is None or (tensor.ndim > 0 and len(tensor) == images)
    return tensor.is_floating_point() and rows and (tensor.ndim == 2 or (tensor.ndim == 1 and images is not None))


def _could_be_dense(tensor: Tensor, images: int | None) -> bool:
    """Whether a tensor has a row of columns for each pixel of each image."""
    rows = images is None or (tensor.ndim > 0 and len(tensor) == images)
    return tensor.is_floating_point() and rows and tensor.ndim == DENSE_AXES and bool(tensor.numel())


def _check_shape(tensor: Tensor, images: int | None) -> None:
    alone = tensor.ndim < 2 and (images is None or tensor.shape == (images,))
    rows = tensor.ndim in (2, DENSE_AXES) and bool(tensor.shape[1:].numel())
    if not tensor.is_floating_point() or not (alone or rows):
        kind = "" if tensor.is_floating_point() else f" of {str(tensor.dtype).removeprefix('torch.')}"
        raise DataError(
            f"the model's output must be logits (batch, classes) for a loss; got shape {_shape(tensor)}{kind}"
        )


def _leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Tensor]]:
    """The tensors in nested containers, with their places; one that is there twice is handed out once."""
    seen: set[int] = set()
    for found, tensor in _walk(value, place):
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield found, tensor


def _walk(value: Any, place: Place) -> Iterator[tuple[Place, Tensor]]:
    if isinstance(value, Tensor):
        yield place, value
    elif len(place) < _DEEPEST:
        for key, item in _entries(value):
            yield from _walk(item, (*place, key))


def _entries(value: Any) -> list[tuple[Key, Any]]:
    """What a container holds: keys of mappings, fields of named tuples, dataclasses and objects, else indices."""
    if isinstance(value, Mapping):
        return [(str(key), item) for key, item in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, tuple | list):
        return list(enumerate(value))
    if dataclasses.is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, str | bytes | int | float | nn.Module) or not hasattr(value, "__dict__"):
        return []
    return [(name, item) for name, item in vars(value).items() if not name.startswith("_")]


def tensor_at(output: Any, place: Place) -> Tensor:
    """The tensor at a place of what a network returned.

    Args:
        output: of the network.
        place: as `find_place` gives it.

    Raises:
        DataError: when there is none this time.
    """
    for key in place:
        entries = dict(_entries(output))
        if key not in entries:
            raise DataError(f"the model's output {key!r} is missing this time")
        output = entries[key]
    if not isinstance(output, Tensor):
        raise DataError(f"the model's output must be logits (batch, classes) for a loss; got {type(output).__name__}")
    return output


def _asked(output: Any, leaves: list[tuple[Place, Tensor]], asked: str) -> list[tuple[Place, Tensor]]:
    """The tensors that a user's name or index means: a whole path, a last name, or a number among the outermost."""
    dotted = [(place, tensor) for place, tensor in leaves if f"{place_text(place)}.".startswith(f"{asked}.")]
    last = [(place, tensor) for place, tensor in leaves if str(place[-1]) == asked]
    numbered: list[tuple[Place, Tensor]] = []
    entries = _entries(output)
    if re.fullmatch(r"-?\d+", asked) and -len(entries) <= int(asked) < len(entries):
        key = entries[int(asked)][0]
        numbered = [(place, tensor) for place, tensor in leaves if place[0] == key]
    found = dotted or (last if len(last) == 1 else []) or numbered
    if not found:
        names = [place_text(place) for place, _ in leaves]
        raise DataError(f"output: must be one of {_listed(leaves)}; got {asked!r}.{nearest(asked, names)}")
    return found


def _which(found: list[tuple[Place, Tensor]], chosen: list[tuple[Place, Tensor]], counts: ClassCounts) -> str:
    """The one line that says why nothing was taken, and what to do."""
    if chosen:
        what = f"{len(chosen)} of its outputs could be the logits: {_listed(chosen)}"
    else:
        known = " or ".join(map(str, counts.known))
        columns = f"as many columns as classes ({known}), or a " if known else "a "
        what = f"none of its outputs has {columns}name that tells the logits: {_listed(found)}"
    likely = chosen or [(place, tensor) for place, tensor in found if not _never(place, "")]
    such = f", such as --output {place_text(likely[-1][0])}" if likely else " with --output"
    return f"{what}; name one{such} (output= in Python)"


def _listed(leaves: list[tuple[Place, Tensor]]) -> str:
    shapes = [", ".join(["batch", *map(str, tensor.shape[1:])]) if tensor.ndim else "" for _, tensor in leaves]
    return ", ".join(f"{place_text(place)} ({shape})" for (place, _), shape in zip(leaves, shapes, strict=True))


def place_text(place: Place) -> str:
    """A place as users write it, such as `heads.fine`.

    Args:
        place: keys and indices.
    """
    return ".".join(map(str, place))


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def usual_place(output: Any) -> Place:
    """Where nearly every network has its logits: they are its output, or in `logits`, or a tuple's first.

    Args:
        output: of the network.
    """
    place: Place = ()
    if "logits" in dict(_entries(output)) and not isinstance(output, Tensor):
        place, output = ("logits",), dict(_entries(output))["logits"]
    if isinstance(output, tuple | list) and output:
        place = (*place, _entries(output)[0][0])
    return place
