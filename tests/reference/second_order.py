"""Hessian-vector products by double backward, and the differences of gradients that they must equal."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from visionscope.core.objective import Objective
from visionscope.core.sample import Batch
from visionscope.curvature.hvp import HessianProduct, split
from visionscope.curvature.second_order import check_symmetry, twice_differentiable

OBJECTIVE = Objective()


def batch(side: int, count: int = 2, dtype: torch.dtype = torch.float64) -> Batch:
    images = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return Batch(images, torch.arange(count) % 5, torch.arange(count))


def product_and_difference(model: nn.Module, images: Batch, batch_norm: str = "eval") -> tuple[Tensor, Tensor]:
    """H v, and the central difference of gradients along v; the step is tiny, or ReLUs would switch."""
    generator = torch.Generator().manual_seed(1)
    with twice_differentiable(model, batch_norm):
        parameters = list(model.parameters())
        pieces = [
            torch.randn(p.shape, generator=generator, dtype=p.dtype) * p.detach().std(correction=0) for p in parameters
        ]
        vector = torch.cat([piece.reshape(-1) for piece in pieces])
        vector /= vector.norm()
        hessian = HessianProduct(OBJECTIVE.mean_nll(model, images, parameters[0]), parameters)
        product = hessian.block(range(len(parameters)))
        check_symmetry(product, parameters, seed=2)
        found = product(vector)
        origin = [parameter.detach().clone() for parameter in parameters]
        gradients = []
        for step in (1e-7, -1e-7):
            with torch.no_grad():
                for parameter, here, along in zip(parameters, origin, split(vector, parameters), strict=True):
                    parameter.copy_(here + step * along)
            loss = OBJECTIVE.mean_nll(model, images, parameters[0])
            gradient = torch.autograd.grad(loss, parameters, materialize_grads=True)
            gradients.append(torch.cat([piece.reshape(-1) for piece in gradient]))
        with torch.no_grad():
            for parameter, here in zip(parameters, origin, strict=True):
                parameter.copy_(here)
    return found, (gradients[0] - gradients[1]) / 2e-7


class Frozen:
    """A sample that gives what it holds, or draws noise anew each time."""

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise

    def __len__(self) -> int:
        return 8

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        found = batch(8, stop - start, torch.float32)
        noise = self.noise * torch.randn(found.images.shape) if self.noise else 0
        yield Batch(found.images + noise, found.labels, found.positions)
