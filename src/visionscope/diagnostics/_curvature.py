"""What every diagnostic that takes second derivatives needs: an objective, seeds, a forecast, a sample's Hessian."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from visionscope.core.inputs import image_like
from visionscope.core.objective import Objective
from visionscope.core.types import MINI_BATCH, Batch, Subject
from visionscope.errors import ConfigError
from visionscope.numerics.hvp import HessianProduct, flat
from visionscope.tracing.second_order import PEAK, explain, graph_bytes, twice_differentiable


def objective_of(subject: Subject, diagnostic: str) -> Objective:
    """The subject's objective.

    Args:
        subject: of a diagnostic that needs one.
        diagnostic: its name, for the error.

    Raises:
        ConfigError: when the subject has none.
    """
    if subject.objective is None:
        raise ConfigError(f"{diagnostic}: needs an objective; give the subject one")
    return subject.objective


def seed_of(*parts: object) -> int:
    """A seed that depends on all parts: the first 56 bits of a sha256.

    Args:
        parts: such as the diagnostic's own seed and the number of a mini-batch.
    """
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:7], "little")


def product_bytes(subject: Subject, sample: str, objective: Objective, batch_norm: str = "eval") -> int:
    """Bytes that a Hessian-vector product of one mini-batch needs at its worst moment.

    Args:
        subject: the model.
        sample: which of its samples.
        objective: the loss.
        batch_norm: as for `twice_differentiable`.
    """
    model = subject.model
    count = min(MINI_BATCH, len(subject.samples[sample]))
    batch = next(subject.samples[sample].batches(0, count, count))
    with twice_differentiable(model, batch_norm):
        like = image_like(model, batch.images.shape[1:])
        return PEAK * graph_bytes(model, batch, lambda some: objective.mean_nll(model, some, like))


class SampleHessian:
    """The Hessian of the objective over several mini-batches, times several vectors at once.

    The graph of one mini-batch at a time, made anew for every call: memory matters more here than time.

    Attributes:
        like: (n,) the parameters one after the other, detached.
    """

    def __init__(
        self, subject: Subject, objective: Objective, batches: Sequence[Batch], batch_norm: str = "eval"
    ) -> None:
        self._model, self._objective, self._batches = subject.model, objective, batches
        self._batch_norm = batch_norm
        self._images = sum(len(batch.images) for batch in batches)
        self._images_like = image_like(subject.model, batches[0].images.shape[1:])
        named = dict(subject.model.named_parameters())
        self.like = flat([value.detach() for value in named.values()])
        decays = [value.new_full((value.numel(),), objective.decaying(name, value)) for name, value in named.items()]
        self._decay = objective.weight_decay * flat(decays)

    def products(self, vectors: Tensor) -> Tensor:
        """(m, n) to (m, n)."""
        total = torch.zeros_like(vectors)
        with twice_differentiable(self._model, self._batch_norm):
            parameters = list(self._model.parameters())
            for batch in self._batches:
                try:
                    loss = self._objective.mean_nll(self._model, batch, self._images_like)
                    product = HessianProduct(loss, parameters).block(range(len(parameters)))
                    share = len(batch.images) / self._images
                    for sum_so_far, vector in zip(total, vectors, strict=True):
                        sum_so_far.add_(product(vector), alpha=share)
                except RuntimeError as error:
                    raise explain(self._model, batch.images.to(self._images_like), error) from error
        return total + self._decay * vectors
