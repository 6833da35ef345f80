"""What is looked at of networks that detect objects: their backbones, whose feature maps are like a classifier's."""

from __future__ import annotations

from torch import nn

_DETECTION = "torchvision.models.detection."


def detects(model: nn.Module) -> bool:
    """Whether a network is one of torchvision's or transformers' that detect objects, or made from one.

    What torchvision's return depends on what they found, box by box, so that no pass over other images is like it;
    those of transformers have logits for each query, which stands for no place and no image.

    Args:
        model: any network.
    """
    return _of_transformers(model) or (
        any(kind.__module__.startswith(_DETECTION) for kind in type(model).__mro__) and hasattr(model, "backbone")
    )


def looked_at(model: nn.Module) -> nn.Module:
    """The part of a network that diagnostics look at: of one that detects objects its backbone, else all of it.

    In transformers that is the first module that the library itself calls a backbone; where there is none, as in YOLOS,
    a vision transformer whose tokens become boxes, the network without its head.

    Args:
        model: any network.
    """
    if not detects(model):
        return model
    if not _of_transformers(model):
        backbone = model.backbone
    else:
        inside = (module for module in model.modules() if _is_of_transformers(module, "BackboneMixin"))
        backbone = next(inside, model.base_model)
    assert isinstance(backbone, nn.Module)
    return backbone


def _of_transformers(model: nn.Module) -> bool:
    return _is_of_transformers(model, "ForObjectDetection")


def _is_of_transformers(module: nn.Module, ending: str) -> bool:
    """Whether one of a module's classes is transformers' and its name ends so; imports nothing."""
    kinds = type(module).__mro__
    return any(kind.__module__.startswith("transformers.") and kind.__name__.endswith(ending) for kind in kinds)
