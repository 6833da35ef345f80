"""Batch normalization with fixed statistics folded into the convolutions in front of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from visionscope.tracing.record import tensors_in

_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A convolution or linear layer and the batch normalization that alone reads its output.

    Attributes:
        layer: path of the first.
        norm: path of the second.
    """

    layer: str
    norm: str


def find_pairs(model: nn.Module, images: Tensor) -> tuple[Pair, ...]:
    """Finds what can be folded, by a pass in which every operation's tensors are looked at.

    A pair is a convolution (or a linear layer of an input without further axes) whose weight and bias are used once,
    and a batch normalization used once, with running statistics, that is the only reader of the layer's output.

    Args:
        model: in evaluation mode.
        images: a few, as the model takes them.
    """
    readers = _Readers()
    with torch.no_grad(), readers:
        model(images)
    layers = {
        id(module.weight): path
        for path, module in model.named_modules()
        if isinstance(getattr(module, "weight", None), Tensor) and hasattr(module, "bias")
    }
    norms = {
        id(module.running_mean): path
        for path, module in model.named_modules()
        if isinstance(module, _BatchNorm) and _replacement(module) is not None
    }
    pairs = []
    for norm in readers.norms:
        product = readers.products.get(norm.read)
        if product is None or norm.training or readers.uses.get(norm.read) != 1:
            continue
        path, norm_path = layers.get(product), norms.get(norm.statistics)
        once = readers.uses.get(product) == 1 and readers.uses.get(norm.statistics) == 1
        if path is not None and norm_path is not None and once:
            pairs.append(Pair(path, norm_path))
    return tuple(pairs)


def fold(model: nn.Module, pairs: tuple[Pair, ...]) -> dict[str, Tensor]:
    """Multiplies each pair's filters by the norm's factor, puts its shift into the bias and takes the norm out.

    With s = gamma / sqrt(running variance + eps) the pair computes s * (w x + b - running mean) + beta, which is what
    the layer alone computes with the filters s * w and the bias s * (b - running mean) + beta. What a norm does besides
    (timm's drop and activation) stays in its place.

    Args:
        model: is changed in place.
        pairs: from `find_pairs`.

    Returns:
        By the weight's parameter name the factors, shaped so that they multiply the weight or a direction in which it
        moves; float64.
    """
    factors = {}
    names = {id(value): name for name, value in model.named_parameters()}
    for pair in pairs:
        layer: Any = model.get_submodule(pair.layer)
        norm = model.get_submodule(pair.norm)
        weight: Any = layer.weight
        factor, shift = _factor_and_shift(norm)
        bias = torch.zeros_like(shift) if layer.bias is None else layer.bias.detach().double()
        shaped = factor.reshape(-1, *[1] * (weight.ndim - 1))
        with torch.no_grad():
            weight.copy_(weight.double() * shaped)
            layer.bias = nn.Parameter((factor * bias + shift).to(weight.dtype), requires_grad=False)
        factors[names[id(weight)]] = shaped
        for parent in list(model.modules()):
            for name, child in parent.named_children():
                if child is norm:
                    setattr(parent, name, _replacement(norm))
    return factors


@dataclasses.dataclass(frozen=True)
class _Norm:
    read: int
    statistics: int
    training: bool


class _Readers(TorchFunctionMode):
    """Counts how often each tensor is read, and notes products with a weight and batch normalizations by identity."""

    def __init__(self) -> None:
        super().__init__()
        self.uses: dict[int, int] = {}
        self.products: dict[int, int] = {}  # output -> weight
        self.norms: list[_Norm] = []
        self._kept: list[Any] = []  # so that no identity is given to another tensor

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        made = [tensor for _, tensor in tensors_in(result)]
        if not made:  # a question such as `shape`
            return result
        read = [tensor for _, tensor in tensors_in((args, kwargs))]
        self._kept.extend([*read, *made])
        for tensor in read:
            self.uses[id(tensor)] = self.uses.get(id(tensor), 0) + 1
        if func in _CONVOLUTIONS or (func is F.linear and made[0].ndim == 2):
            self.products[id(made[0])] = id(args[1] if len(args) > 1 else kwargs["weight"])
        elif func is F.batch_norm:
            given = dict(
                zip(("input", "running_mean", "running_var", "weight", "bias", "training"), args, strict=False)
            )
            given.update(kwargs)
            if given["running_mean"] is not None:
                training = bool(given.get("training", False))
                self.norms.append(_Norm(id(given["input"]), id(given["running_mean"]), training))
        return result


def _factor_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    factor = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        factor = factor * norm.weight.detach().double()
    shift = -mean * factor
    return factor, shift if norm.bias is None else shift + norm.bias.detach().double()


def _replacement(norm: nn.Module) -> nn.Module | None:
    """What is left of a norm without its normalization, or None for a class that does more than is known."""
    if type(norm) in _PLAIN:
        return nn.Identity()
    drop, act = getattr(norm, "drop", None), getattr(norm, "act", None)
    if isinstance(drop, nn.Module) and isinstance(act, nn.Module):
        return nn.Sequential(drop, act)
    return None
