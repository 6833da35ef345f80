"""Whether a network is a function of its input: its weights stay, and an image gives the same after others."""

from collections.abc import Iterator

import torch
from torch import Tensor

from visionscope.core.inputs import image_like, place_of
from visionscope.core.subject import Subject
from visionscope.errors import NondeterminismError
from visionscope.running.surroundings import as_found, autocast
from visionscope.tracing.record import tensors_in

_SHARES = {"fp64": 1e-9, "fp32": 1e-3}  # of the largest output; kernels may add up in another order
_ROUGH = 2e-2


class Constancy:
    """A network's versions of weights, and its outputs for one image, to be compared with later ones.

    Args:
        subject: the model, where it runs, and its sample `eval`.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._image = next(iter(subject.samples["eval"].batches(0, 1, 1))).images
        self._outputs = self._passed()
        self._versions = dict(self._read())  # afterwards: a first pass may fill a cache

    def check(self) -> None:
        """Compares.

        Raises:
            NondeterminismError: when passes changed a weight or a buffer, or an image now gives something else.
        """
        for name, version in self._read():
            if self._versions.get(name) != version:
                raise NondeterminismError(
                    f"passes change {name!r} of the network, so that no two of them are the same function; leave its "
                    "parameters and buffers alone in evaluation mode"
                )
        later = self._passed()
        share = _SHARES.get(self._subject.precision, _ROUGH)
        if len(later) != len(self._outputs) or not all(map(_close, self._outputs, later, [share] * len(later))):
            raise NondeterminismError(
                "two passes over the same image disagree, so that numbers depend on what ran before; the network must "
                "be a function of its input in evaluation mode"
            )

    def _read(self) -> Iterator[tuple[str, tuple[int, int]]]:
        model = self._subject.model
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if not tensor.is_inference():  # such have no versions
                yield name, (id(tensor), tensor._version)

    def _passed(self) -> list[Tensor]:
        model = self._subject.model
        with (
            as_found(model, seed=0),
            torch.inference_mode(),
            autocast(self._subject.precision, place_of(model)),
        ):
            images = self._image.to(image_like(model, self._image.shape[1:])).clone()
            return [tensor.clone() for _, tensor in tensors_in(model(images))]


def _close(one: Tensor, other: Tensor, share: float) -> bool:
    if one.shape != other.shape:
        return False
    one, other = torch.nan_to_num(one.double()), torch.nan_to_num(other.double())
    return not one.numel() or float((one - other).abs().max()) <= share * float(one.abs().max())
