"""Whether the weights of a network are numbers: with a NaN or an infinity among them nothing can be told of it."""

import torch
from torch import Tensor, nn

from visionscope.core.printable import quoted
from visionscope.errors import ConfigError

# Buffers that weigh or normalise, as batch norms and frozen layers have them. Others may hold infinities by design,
# such as a mask that is added before a softmax.
_WEIGHING = ("weight", "bias", "running_mean", "running_var")


def check_finite(model: nn.Module, name: str) -> None:
    """Refuses a network with NaN or infinity among its parameters, or the buffers that weigh and normalise.

    Other buffers are let through: a mask may be minus infinity by design.

    Args:
        model: any network.
        name: of the network, or of the file of its weights, for errors.

    Raises:
        ConfigError: naming the first such parameter, how many of its numbers these are, and how many more there are.
    """
    buffers = ((path, tensor) for path, tensor in model.named_buffers() if path.rpartition(".")[2] in _WEIGHING)
    found = [
        (word, path, tensor)
        for word, tensors in (("parameter", model.named_parameters()), ("buffer", buffers))
        for path, tensor in tensors
        if _is_broken(tensor)
    ]
    if not found:
        return
    word, path, tensor = found[0]
    numbers = _plain(tensor)
    bad = int((~numbers.isfinite()).sum())
    what = "NaN" if bool(numbers.isnan().any()) else "infinity"
    more = f", and {len(found) - 1} more like it" if len(found) > 1 else ""
    raise ConfigError(
        f"{name}: the {word} {quoted(path)} holds {what} ({bad:,} of its {numbers.numel():,} numbers{more}), of which "
        "nothing can be measured; take weights from before the training diverged"
    )


def _is_broken(tensor: Tensor) -> bool:
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.numel() == 0:
        return False
    if tensor.is_meta or tensor.layout != torch.strided or tensor.is_nested:
        return False
    try:
        # Both ends are NaN where one number is; no second tensor of the size is made.
        return not all(bool(end.isfinite()) for end in torch.aminmax(_plain(tensor)))
    except (RuntimeError, NotImplementedError):  # packed numbers, such as those of quantised weights
        return False


def _plain(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    if tensor.is_complex():
        return torch.view_as_real(tensor.resolve_conj())
    return tensor.float() if tensor.element_size() == 1 else tensor
