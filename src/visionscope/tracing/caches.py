"""What networks compute from their weights once and keep: it goes stale when weights move, and holds on to graphs."""

from torch import Tensor, nn


def clear_caches(model: nn.Module) -> None:
    """Empties the dictionaries of tensors that modules keep under a name with `cache`, to be computed anew when needed.

    LeViT, TinyViT, EfficientFormer and EfficientViT keep the table of position biases like this in evaluation mode. It
    is a function of a parameter: one kept from a pass without gradients has none, and one kept from before the weights
    moved is wrong.

    Args:
        model: any network.
    """
    for module in model.modules():
        for name, value in vars(module).items():
            if "cache" in name and isinstance(value, dict) and all(isinstance(kept, Tensor) for kept in value.values()):
                value.clear()
