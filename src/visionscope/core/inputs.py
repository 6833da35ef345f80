"""What a network takes as images: on which device, of which type, with how many channels; in doubt it is tried."""

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from visionscope.core.modes import evaluation_mode

_FEW = 2  # images that are tried; some norms refuse a single one
_TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_COLOURS = 3
_FURTHER = range(1, 17)  # channels of a network that begins without a convolution


def weight_type(model: nn.Module) -> torch.dtype:
    """The floating-point type of most of a network's weights; a complex weight counts as its real and imaginary part.

    Args:
        model: any network; without weights it is float32.
    """
    return _types(model)[0]


def image_like(model: nn.Module, shape: Sequence[int]) -> Tensor:
    """An empty tensor of the device and the type in which a network takes its images.

    Where all weights are float32, or all float64, the images are. Elsewhere types are tried on two empty images: that
    of most weights, then those of the other weights, then what is left of float32, float64, float16 and bfloat16. The
    first that the network runs with is taken; where it runs with none, the type of most weights, so that the pass tells
    the error.

    Args:
        model: any network; its mode, its gradients and the random state are left as they were.
        shape: of one image: channels, height and width.
    """
    device = place_of(model)
    weights = _types(model)
    if weights in ([torch.float32], [torch.float64]):
        return torch.empty(0, dtype=weights[0], device=device)
    tried = dict.fromkeys((*weights, *_TYPES))
    for kind in tried:
        if _runs(model, shape, torch.empty(0, dtype=kind, device=device)):
            return torch.empty(0, dtype=kind, device=device)
    return torch.empty(0, dtype=weights[0], device=device)


def channels_taken(model: nn.Module, size: Sequence[int], declared: int | None = None) -> int:
    """How many channels the images of a network have.

    Tried on two empty images: the declared number, 3, then the input channels of the network's convolutions in their
    order, then 1 to 16. Where it runs with none, the first of these.

    Args:
        model: any network; it is left as it was.
        size: height and width of the images.
        declared: what its configuration says.
    """
    convolutions = (module.in_channels for module in model.modules() if isinstance(module, nn.modules.conv._ConvNd))
    tried: list[int] = list(dict.fromkeys((*([declared] if declared else []), _COLOURS, *convolutions, *_FURTHER)))
    for channels in tried:
        shape = (channels, *size)
        if _runs(model, shape, image_like(model, shape)):
            return channels
    return tried[0]


def _types(model: nn.Module) -> list[torch.dtype]:
    """The real floating-point types of the weights, the most used first; buffers stand in where there are none."""
    return _counted(model.parameters()) or _counted(model.buffers()) or [torch.float32]


def _counted(tensors: Iterable[Tensor]) -> list[torch.dtype]:
    counts: Counter[torch.dtype] = Counter()
    for tensor in tensors:
        if tensor.is_floating_point() or tensor.is_complex():
            counts[tensor.dtype.to_real()] += tensor.numel()
    return [kind for kind, _ in counts.most_common()]


def place_of(model: nn.Module) -> torch.device:
    """The device of a network's first parameter or buffer, the CPU where it has none.

    Args:
        model: any network.
    """
    home = next((tensor for tensor in (*model.parameters(), *model.buffers())), None)
    return torch.device("cpu") if home is None else home.device


def _runs(model: nn.Module, shape: Sequence[int], like: Tensor) -> bool:
    with torch.random.fork_rng(), torch.no_grad(), evaluation_mode(model):
        try:
            model(torch.zeros(_FEW, *shape).to(like))
        except (Exception, SystemExit):  # models raise whatever they like where an image does not suit them
            return False
    return True
