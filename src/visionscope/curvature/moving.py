"""A network whose own weights move for a while, and are put back to the bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from visionscope.core.modes import evaluation_mode
from visionscope.tracing.caches import clear_caches

Direction = Mapping[str, Tensor]


class MovableWeights:
    """The parameters that move, where they are and where they were.

    Attributes:
        origin: where they were, by name.
    """

    def __init__(self, model: nn.Module, names: Iterable[str]) -> None:
        wanted = set(names)
        self._model = model
        self._here = {name: value for name, value in model.named_parameters() if name in wanted}
        self.origin = {name: value.detach().clone() for name, value in self._here.items()}

    @property
    def here(self) -> Mapping[str, Tensor]:
        """The network's own parameters, by name."""
        return self._here

    @torch.no_grad()
    def move(self, direction: Direction, step: float = 1.0) -> None:
        """Puts the weights at `origin + step * direction`; those that the direction lacks at the origin.

        Args:
            direction: by parameter name.
            step: its factor.
        """
        for name, value in self._here.items():
            if name in direction:
                torch.add(self.origin[name], direction[name], alpha=step, out=value)
            else:
                value.copy_(self.origin[name])

    @torch.no_grad()
    def restore(self) -> None:
        """Puts the weights back."""
        for name, value in self._here.items():
            value.copy_(self.origin[name])
        clear_caches(self._model)


@contextmanager
def movable(model: nn.Module, names: Iterable[str]) -> Iterator[MovableWeights]:
    """A context in which a network is in evaluation mode and some of its parameters may be moved and differentiated by.

    Those parameters require gradients inside, and no others; no gradient is taken unless the caller turns them on.
    Weights, modes and flags are as before afterwards, also after an exception; `.grad` is never touched.

    Args:
        model: any network, itself and no copy.
        names: of its parameters, as in `named_parameters`.
    """
    weights = MovableWeights(model, names)
    flags = [(value, value.requires_grad) for value in model.parameters()]
    # What a pass without gradients keeps has none for the next one.
    hook = model.register_forward_pre_hook(lambda module, args: clear_caches(module))
    try:
        with evaluation_mode(model), torch.no_grad():
            for name, value in model.named_parameters():
                if value.is_floating_point() or value.is_complex():
                    value.requires_grad_(name in weights.here)
            yield weights
    finally:
        hook.remove()
        weights.restore()
        for value, flag in flags:
            value.requires_grad_(flag)
