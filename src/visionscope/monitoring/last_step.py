"""What the optimizer's last step changed, told by looking at the weights after each step: whatever loop makes them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from visionscope.core.subject import Update

_NONE_YET = "the optimizer has made no step yet"
_UNSEEN = (
    "the weights before the optimizer's last step were not seen: the training goes on from there, or the monitor is "
    "not called after each step"
)
_UNTRAINED = "no parameter of the network is trained"
_COMPILED = "_orig_mod."  # in names of what torch.compile wraps, which is taken away while a network is measured


class LastStep:
    """The weights before and after the last step: two copies of the parameters that are trained, on their device.

    A difference of weights is what was done, momentum, clipping, weight decay and skipped steps included, and needs no
    optimizer to be known.
    """

    def __init__(self) -> None:
        self._step: int | None = None
        self._before: dict[str, Tensor] = {}
        self._after: dict[str, Tensor] = {}

    @torch.no_grad()
    def look(self, network: nn.Module, step: int) -> None:
        """Takes note of the weights; to be called after each step, once or more.

        Args:
            network: that is trained.
            step: steps that the optimizer has made.
        """
        if step == self._step:
            return
        here = {
            name.replace(_COMPILED, ""): value
            for name, value in network.named_parameters()
            if value.requires_grad and value.is_floating_point()
        }
        follows = self._step is not None and step == self._step + 1 and _alike(here, self._after)
        self._step = step
        self._before, self._after = (self._after, self._before) if follows else ({}, {})
        if not self._after:
            self._after = {name: value.detach().clone() for name, value in here.items()}
            return
        for name, value in here.items():
            self._after[name].copy_(value)

    def update(self) -> Update:
        """What the last step changed."""
        if self._step is not None and not self._after:
            return Update(note=_UNTRAINED)
        if not self._before:
            return Update(note=_UNSEEN if self._step else _NONE_YET)
        return Update(change={name: value - self._before[name] for name, value in self._after.items()})


def _alike(some: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    kinds = [{name: (one.shape, one.dtype, one.device) for name, one in group.items()} for group in (some, others)]
    return kinds[0] == kinds[1]
