"""How many classes a network tells apart, as it says itself: what tells its logits from its features."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from torch import nn

# What the last layer of a classifier is called in timm, torchvision, transformers and most people's own networks.
_HEADS = (
    "head",
    "heads",
    "fc",
    "classifier",
    "last_linear",
    "linear",
    "logits",
    "out",
    "output",
    "fc_out",
    "output_layer",
    "cls_head",
    "classification_head",
    "segmentation_head",
)
# Those of which torch.nn.Identity in their place leaves features.
_REPLACED = ("head", "heads", "fc", "classifier", "last_linear")
_SIZES = ("out_features", "out_channels")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassCounts:
    """Numbers of classes that are known.

    Attributes:
        stated: by the model or its spec: an output of as many columns is the logits.
        heads: the widths of what is named as a head.
        likely: what the pretrained configuration or the data say; with `heads` where no output fits what is stated.
        headless: why the network has no classes at all, such as "num_classes is 0"; "" where it may have.
    """

    stated: tuple[int, ...] = ()
    heads: tuple[int, ...] = ()
    likely: tuple[int, ...] = ()
    headless: str = ""

    @property
    def known(self) -> tuple[int, ...]:
        """Every number, the surest first."""
        return tuple(dict.fromkeys((*self.stated, *self.heads, *self.likely)))


def class_counts(model: nn.Module, *, spec: int | None = None, data: int | None = None) -> ClassCounts:
    """The numbers of classes that a network and its data give.

    A wrapper, whose parameters are those of a single module in it, is looked through.

    Args:
        model: any network.
        spec: the head's size as the model spec or its source says it.
        data: how many classes the labels are of; 1 and fewer tell nothing.
    """
    inner = _unwrapped(model)
    stated = [count for count in (_stated(inner), spec) if count is not None]
    sizes, replaced = _head_sizes(inner)
    config = getattr(inner, "pretrained_cfg", None)
    pretrained = config.get("num_classes") if isinstance(config, dict) else getattr(config, "num_classes", None)
    likely = [pretrained, data if data is not None and data > 1 else None]
    headless = ""
    if replaced and not sizes:
        headless = f"its {replaced} is nn.Identity"
    elif _stated(inner) == 0:
        headless = "its num_classes is 0"
    return ClassCounts(stated=_positive(stated), heads=_positive([*sizes]), likely=_positive(likely), headless=headless)


def _positive(counts: list[Any]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(count for count in counts if _is_count(count) and count > 0))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _stated(model: nn.Module) -> int | None:
    """`num_classes` as timm's networks have it, or a Hugging Face configuration's `num_labels`."""
    for owner, name in ((model, "num_classes"), (getattr(model, "config", None), "num_labels")):
        count: Any = getattr(owner, name, None)
        if _is_count(count):
            return int(count)
    return None


def _unwrapped(model: nn.Module) -> nn.Module:
    while True:
        inside = [child for child in model.children() if next(child.parameters(), None) is not None]
        own = next(model.parameters(recurse=False), None)
        if own is not None or len(inside) != 1 or _stated(model) is not None or any(_heads(model)):
            return model
        model = inside[0]


def _heads(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a network that are named as a head, or that end a sequence."""
    for name, child in model.named_children():
        if name in _HEADS:
            yield name, child
    if isinstance(model, nn.Sequential) and len(model) > 1 and _size(model[-1]) is not None:
        yield "last module", model[-1]


def _head_sizes(model: nn.Module) -> tuple[list[int], str]:
    """The widths of a network's heads, and the name of a head that was replaced by nothing."""
    if isinstance(_classifier(model), nn.Identity):
        return [], "classifier"
    sizes, replaced = [], ""
    for name, head in _heads(model):
        if isinstance(head, nn.Identity):
            replaced = replaced or (name if name in _REPLACED else "")
        elif (size := _size(head)) is not None:
            sizes.append(size)
    return sizes, replaced


def _classifier(model: nn.Module) -> Any:
    """What timm's networks call their last layer, which may lie inside a head that does more."""
    ask: Any = getattr(model, "get_classifier", None)
    try:
        return ask() if callable(ask) else None
    except Exception:  # the head was replaced by one that the network's own method doesn't know
        return None


def _size(head: nn.Module) -> int | None:
    """The width of the last layer in a head."""
    for module in reversed(list(head.modules())):
        for name in _SIZES:
            size = getattr(module, name, None)
            if isinstance(size, int):
                return size
    return None
