"""Which of a network's parameters are weights, those that a direction in weight space moves."""

from __future__ import annotations

import re

from torch import Tensor, nn

# Tokens and tables of places, as timm, torchvision and transformers name them: each is data that the network
# adds to its activations, with nothing that would play the part of a filter.
_TABLES = re.compile(
    r"(^|[._])((cls|class|dist|distillation|reg|register|mask|query)_?tokens?"
    r"|(abs(olute)?_|temporal_|spatial_)?pos(ition)?(al)?_(embed|embeddings?|encoding|bias)\d*"
    r"|rel(ative)?_(pos(ition)?|coords?)\w*|attention_bias(es)?|latents?)([._]|$)"
)


def weights_of(model: nn.Module, convention: str = "reviewed") -> dict[str, nn.Parameter]:
    """The parameters that directions move; the others, and all buffers, stay where they are.

    The reviewed rule, in this order: a tensor of fewer than two dimensions stays (biases, scales and shifts of norms,
    LayerScale); so does one that the network itself lists in timm's `no_weight_decay()`, or whose name says that it is
    a class or other token, a position embedding or a table of relative positions; the `weight` of a convolution or
    linear layer moves; of the rest moves what has two axes longer than 1. A tensor used in several places is one
    parameter.

    Args:
        model: any network.
        convention: `reviewed`, or `official` for the authors' code: everything moves but tensors of fewer than two
            dimensions and names that hold `pos_embed` or `relative_position`; so class tokens move. Their code moved
            buffers of two or more dimensions, too, which is not repeated here.

    Returns:
        By name, in the order of `named_parameters`.
    """
    if convention == "official":
        return {name: value for name, value in model.named_parameters() if _official(name, value)}
    listed = _undecayed(model)
    filters = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)) and isinstance(module.weight, Tensor)
    }
    return {
        name: value
        for name, value in model.named_parameters()
        if value.ndim > 1
        and name not in listed
        and not _TABLES.search(name)
        and (id(value) in filters or sum(size > 1 for size in value.shape) > 1)
    }


def _official(name: str, value: Tensor) -> bool:
    return value.ndim > 1 and "pos_embed" not in name and "relative_position" not in name


def _undecayed(model: nn.Module) -> set[str]:
    names: set[str] = set()
    for path, module in model.named_modules():
        listing = getattr(module, "no_weight_decay", None)
        if callable(listing):
            names.update(f"{path}.{name}" if path else name for name in listing())
    return names
