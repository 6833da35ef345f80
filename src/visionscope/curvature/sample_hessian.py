"""The Hessian of a network's loss over mini-batches of a sample: products, what they need, what they rest on."""

import hashlib
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from visionscope.core.inputs import image_like
from visionscope.core.objective import Objective, counting
from visionscope.core.sample import MINI_BATCH, Batch
from visionscope.core.subject import Subject
from visionscope.curvature.hvp import HessianProduct, flat
from visionscope.curvature.second_order import PEAK, depends, explain, graph_bytes, twice_differentiable
from visionscope.errors import VisionscopeError


def seed_of(*parts: object) -> int:
    """A seed that depends on all parts: the first 56 bits of a sha256.

    Args:
        parts: such as the diagnostic's own seed and the number of a mini-batch.
    """
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:7], "little")


def product_bytes(
    subject: Subject, sample: str, objective: Objective, batch_norm: str, parameters: Collection[str]
) -> int:
    """Bytes that a Hessian-vector product of one mini-batch needs at its worst moment.

    Args:
        subject: the model.
        sample: which of its samples.
        objective: the loss.
        batch_norm: as for `twice_differentiable`.
        parameters: the names of those that are measured.
    """
    model = subject.model
    count = min(MINI_BATCH, len(subject.samples[sample]))
    batch = next(subject.samples[sample].batches(0, count, count))
    logits_of = subject.readout.after(model)
    with twice_differentiable(model, batch_norm, parameters):
        like = image_like(model, batch.images.shape[1:])
        return PEAK * graph_bytes(model, batch, lambda some: objective.mean_nll(logits_of, some, like))


def vector_bytes(model: nn.Module, parameters: Collection[str]) -> int:
    """Bytes of one vector over some parameters.

    Args:
        model: holds them.
        parameters: their names.
    """
    return sum(value.numel() * value.element_size() for name, value in model.named_parameters() if name in parameters)


def hessian_of(subject: Subject, loss: Tensor, named: Mapping[str, Tensor], images: Tensor) -> HessianProduct:
    """The Hessian of a loss over some parameters, all of which it knows if it depends on them.

    A parameter that the graph of the loss does not hold is changed: if the output changes with it, a part of the
    forward keeps no gradients, and the Hessian would lack what goes through that part. To be called inside
    `twice_differentiable`.

    Args:
        subject: with the network, whose outputs may be more than the logits that the loss is of.
        loss: its loss, with its graph.
        named: the parameters, by name.
        images: what it was shown.

    Raises:
        VisionscopeError: when the loss depends on a parameter that no gradient reaches, or on none.
        RuntimeError: from torch, where an operation has no second derivative.
    """
    model, read, names = subject.model, subject.readout.logits, list(named)
    hessian = HessianProduct(loss, list(named.values())) if loss.requires_grad else None
    lost = names if hessian is None else [names[place] for place in hessian.unreached]
    if lost and depends(model, lost, images, read):
        lost = [name for name in lost if depends(model, [name], images, read)] or lost
        count, total = (sum(named[name].numel() for name in some) for some in (lost, names))
        raise VisionscopeError(
            f"{type(model).__name__}: no gradient of the loss reaches {count:,} of the {total:,} numbers that it is "
            f"measured over, such as {lost[0]!r}: a part of the forward runs under torch.no_grad, inference_mode or "
            "detach; let gradients through, or freeze those parameters (requires_grad_(False)) to measure the others"
        )
    if hessian is None or len(lost) == len(names):
        raise VisionscopeError(f"{type(model).__name__}: the loss depends on none of the parameters that are measured")
    return hessian


class SampleHessian:
    """The Hessian of the objective over several mini-batches, times several vectors at once.

    The graph of one mini-batch at a time, made anew for every call: memory matters more here than time.

    Attributes:
        like: (n,) the parameters one after the other, detached.
        unused: how many of them the loss does not depend on; known after the first products.
    """

    def __init__(
        self,
        subject: Subject,
        objective: Objective,
        batches: Sequence[Batch],
        batch_norm: str = "eval",
        parameters: Collection[str] | None = None,
    ) -> None:
        self._model, self._objective, self._batches = subject.model, objective, batches
        self._subject, self._logits_of = subject, subject.readout.after(subject.model)
        self._batch_norm = batch_norm
        self._images = sum(map(counting, batches))
        self._images_like = image_like(subject.model, batches[0].images.shape[1:])
        everything = dict(subject.model.named_parameters())
        self._named = {name: everything[name] for name in everything if parameters is None or name in parameters}
        self.like = flat([value.detach() for value in self._named.values()])
        decays = [
            value.new_full((value.numel(),), objective.decaying(name, value)) for name, value in self._named.items()
        ]
        self._decay = objective.weight_decay * flat(decays)
        self.unused = 0

    def products(self, vectors: Tensor) -> Tensor:
        """(m, n) to (m, n)."""
        total = torch.zeros_like(vectors)
        unreached = set(range(len(self._named)))
        values = list(self._named.values())
        with twice_differentiable(self._model, self._batch_norm, self._named.keys()):
            for batch in self._batches:
                images = batch.images.to(self._images_like)
                try:
                    loss = self._objective.mean_nll(self._logits_of, batch, self._images_like)
                    hessian = hessian_of(self._subject, loss, self._named, images)
                    product = hessian.block(range(len(values)))
                    share = counting(batch) / self._images
                    for sum_so_far, vector in zip(total, vectors, strict=True):
                        sum_so_far.add_(product(vector), alpha=share)
                except RuntimeError as error:
                    raise explain(self._model, images, error) from error
                unreached.intersection_update(hessian.unreached)
        self.unused = sum(values[place].numel() for place in unreached)
        return total + self._decay * vectors
