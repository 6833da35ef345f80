"""A copy of a network whose weights can be put anywhere in a plane; the network itself is never touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from visionscope.core.copying import channels_last, copy_of
from visionscope.curvature.folding import Pair, find_pairs, fold
from visionscope.tracing.caches import clear_caches
from visionscope.tracing.record import tensors_in

Direction = Mapping[str, Tensor]
_CHECKED = 2  # images on which folding is compared with the network as it is
_AGREEMENT = 1e-6  # of an output's largest value, in float64


class PlaneModel:
    """The copy, with the places of the weights that move.

    Its convolutions keep channels last, which is faster on CPUs and GPUs alike. With `folding`, batch normalization
    with running statistics is folded into the convolutions ahead of it, which changes the surface by rounding alone as
    long as no direction moves a tensor of the norm or a bias. Folding checks itself, in float64 at two places in the
    plane; where the outputs differ, or where the network can't be run in float64, the norms stay.

    Attributes:
        network: the copy, in evaluation mode; its weights are at the origin until `move` is called.
        folded: how many norms were folded.
    """

    def __init__(
        self, model: nn.Module, moving: Iterable[str], *, images: Tensor | None = None, along: Direction | None = None
    ) -> None:
        """Copies the network.

        Args:
            model: any network.
            moving: names of the parameters that directions will move.
            images: some images, where norms are to be folded.
            along: a direction, in which folding is checked.
        """
        self.network = _copied(model)
        self._factors: dict[str, Tensor] = {}
        self.folded = 0
        if images is not None and along is not None:
            self._fold(images[:_CHECKED], along)
        channels_last(self.network)
        parameters = dict(self.network.named_parameters())
        self._places = {name: (parameters[name], parameters[name].detach().clone()) for name in moving}

    def prepared(self, direction: Direction) -> dict[str, Tensor]:
        """A direction as `move` wants it: multiplied by the factors of folding, channels last.

        Args:
            direction: by parameter name; tensors that are absent don't move.
        """
        ready = {}
        for name, (parameter, _) in self._places.items():
            if name in direction:
                value = direction[name].to(parameter)
                if name in self._factors:
                    value = (value.double() * self._factors[name]).to(parameter)
                ready[name] = value.contiguous(memory_format=_format_of(value))
        return ready

    @torch.no_grad()
    def move(self, steps: Sequence[tuple[float, Direction]]) -> None:
        """Puts the weights at the origin plus each direction times its step.

        Args:
            steps: pairs of step and prepared direction.
        """
        for name, (parameter, origin) in self._places.items():
            here = origin
            for step, direction in steps:
                if name in direction:
                    # The sum grows in the parameter itself: the origin stays, and no further tensor is made.
                    here = torch.add(here, direction[name], alpha=step, out=parameter)
            if here is origin:
                parameter.copy_(origin)
        clear_caches(self.network)

    @torch.no_grad()
    def reestimate(self, batches: Iterable[Tensor]) -> None:
        """Measures the running statistics of batch normalization anew: mean over batches of each batch's statistics.

        Args:
            batches: of images, all of the sample.
        """
        norms = batch_norms(self.network)
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # torch's word for the plain mean over batches
            norm.train()
        try:
            for images in batches:
                self.network(images)
        finally:
            for norm in norms:
                norm.eval()

    def _fold(self, images: Tensor, along: Direction) -> None:
        pairs = find_pairs(self.network, images)
        if not pairs:
            return
        if _folding_is_exact(self.network, pairs, images, along):
            self._factors, self.folded = fold(self.network, pairs), len(pairs)


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The modules of a network that normalize with running statistics of batches.

    Args:
        model: any network.
    """
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]


def _copied(model: nn.Module) -> nn.Module:
    return copy_of(model).eval().requires_grad_(False)


def _format_of(value: Tensor) -> torch.memory_format:
    return torch.channels_last if value.ndim == 4 else torch.contiguous_format


@torch.no_grad()
def _folding_is_exact(model: nn.Module, pairs: tuple[Pair, ...], images: Tensor, along: Direction) -> bool:
    # Whatever a network does when its norms are gone or its type changes, the unfolded one still works.
    try:
        plain = copy_of(model).double()
        folded = copy_of(plain)
        factors = fold(folded, pairs)
        for step in (0.0, 0.5):
            for network, scales in ((plain, {}), (folded, factors)):
                for name, parameter in network.named_parameters():
                    if step and name in along:
                        parameter.add_(step * along[name].to(parameter) * scales.get(name, 1.0))
            outputs = ([tensor for _, tensor in tensors_in(network(images.double()))] for network in (plain, folded))
            pairs_of_outputs = list(zip(*outputs, strict=True))
            if not pairs_of_outputs or not all(_agree(*pair) for pair in pairs_of_outputs):
                return False
    except Exception:
        return False
    return True


def _agree(wanted: Tensor, found: Tensor) -> bool:
    return bool((wanted - found).abs().max() <= _AGREEMENT * wanted.abs().max())
