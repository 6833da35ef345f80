"""Hessian-vector products by double backward: the gradient's graph is made once and used for every vector."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]
"""Takes a vector (n,) to a symmetric matrix times that vector, (n,)."""


class HessianProduct:
    """The Hessian of one loss over some parameters, as a matrix that can be multiplied with.

    H v = d(g . v)/dw with the gradient g kept with its graph (Pearlmutter 1994, reverse over reverse mode): about two
    and a half gradients per product. Forward over reverse costs four; reverse over forward is wrong in torch where a
    LayerNorm is passed.

    Args:
        loss: a scalar with its graph; the graph lives as long as this object.
        parameters: what is differentiated by, in the order of the vectors' elements.

    Attributes:
        unreached: places of the parameters that the loss's graph does not hold; their rows and columns are zero.

    Raises:
        RuntimeError: from torch, where an operation has no second derivative.
    """

    def __init__(self, loss: Tensor, parameters: Sequence[Tensor]) -> None:
        self._parameters = tuple(parameters)
        found = torch.autograd.grad(loss, self._parameters, create_graph=True, allow_unused=True)
        self.unreached = tuple(place for place, gradient in enumerate(found) if gradient is None)
        pairs = zip(found, self._parameters, strict=True)
        self._gradients = tuple(torch.zeros_like(value) if one is None else one for one, value in pairs)

    def block(self, chosen: Sequence[int]) -> Product:
        """The diagonal block of some of the parameters, at a product's cost or less.

        Args:
            chosen: places in `parameters`; vectors hold their elements one after the other in this order.
        """
        parameters = [self._parameters[place] for place in chosen]
        gradients = [self._gradients[place] for place in chosen]
        # A gradient without a graph is constant: its rows of the Hessian are zero.
        rows = [row for row, gradient in enumerate(gradients) if gradient.requires_grad]

        def product(vector: Tensor) -> Tensor:
            pieces = split(vector, parameters)
            if not rows:
                return torch.zeros_like(vector)
            found = torch.autograd.grad(
                [gradients[row] for row in rows],
                parameters,
                grad_outputs=[pieces[row] for row in rows],
                retain_graph=True,
                materialize_grads=True,
            )
            return flat(found)

        return product


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """Their elements one after the other, (n,).

    Args:
        tensors: of any shapes.
    """
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def split(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The inverse of `flat`: views of a vector (n,) in the shapes of some tensors.

    Args:
        vector: as many elements as all of them.
        like: the shapes.
    """
    sizes = [tensor.numel() for tensor in like]
    return [piece.view_as(tensor) for piece, tensor in zip(torch.split(vector, sizes), like, strict=True)]
