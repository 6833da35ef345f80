"""What is looked at of networks that detect objects: their backbones, whose feature maps are like a classifier's."""

from __future__ import annotations

from torch import nn

_DETECTION = "torchvision.models.detection."


def detects(model: nn.Module) -> bool:
    """Whether a network is one of torchvision's that detect objects, or made from one.

    What they return depends on what they found, box by box, so that no pass over other images is like it.

    Args:
        model: any network.
    """
    return any(kind.__module__.startswith(_DETECTION) for kind in type(model).__mro__) and hasattr(model, "backbone")


def looked_at(model: nn.Module) -> nn.Module:
    """The part of a network that diagnostics look at: of one that detects objects its backbone, else all of it.

    Args:
        model: any network.
    """
    backbone = model.backbone if detects(model) else model
    assert isinstance(backbone, nn.Module)
    return backbone
