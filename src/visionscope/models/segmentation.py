"""Networks that give a class to every pixel: a backbone of timm's or ours, and a decoder; registered as `segmenter`."""

from __future__ import annotations

import functools
from typing import Any

import timm
import torch.nn.functional as F
from timm.models import PretrainedCfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from visionscope.core.printable import quoted
from visionscope.errors import ConfigError, nearest
from visionscope.models.decoders import DECODERS, LINEAR, SEGMENTER

__all__ = ["Segmenter"]

_LOADING = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")  # timm hands them to every model
_CHANNELS = "in_chans"

default_cfgs = generate_default_cfgs({SEGMENTER: {"num_classes": 11, "classifier": "head"}})


class Segmenter(nn.Module):
    """A 1x1 convolution on the last map of a backbone, enlarged bilinearly to the size of the images.

    The plainest decoder that there is (the `Linear` of Strudel et al. 2021, Segmenter, section 3.2): what a pixel's
    class can be told by, the backbone has to bring to its last map, the last of timm's `forward_intermediates`, after
    the last normalisation; tokens are put back into their grid, without class token. Most classifiers pool that map.
    EfficientNets and the like first widen it by a 1x1 convolution (`conv_head`), which belongs to their head and is
    left out here, as is that which MobileNetV3 and V4 have behind their pooling.

    Args:
        backbone: one of timm's or ours, without its head.
        num_classes: how many a pixel can be of.

    Raises:
        ConfigError: for a backbone that doesn't say how many channels its maps have.
    """

    def __init__(self, backbone: nn.Module, num_classes: int) -> None:
        super().__init__()
        channels = _channels(backbone)
        self.num_classes = num_classes
        self.backbone = backbone
        self.head = nn.Conv2d(channels, num_classes, 1)

    def get_classifier(self) -> nn.Module:
        """The head."""
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        """Puts a new head in place.

        Args:
            num_classes: its size.
        """
        self.num_classes = num_classes
        self.head = nn.Conv2d(self.head.in_channels, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (b, c, h, w) to logits (b, num_classes, h, w)."""
        logits = self.head(last_map(self.backbone, images))
        return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)


def last_map(backbone: nn.Module, images: Tensor) -> Tensor:
    """The last map (b, channel, row, column) of a backbone, after its last normalisation.

    Args:
        backbone: of timm or ours.
        images: (b, c, h, w).
    """
    model: Any = backbone
    if not hasattr(model, "forward_intermediates"):  # ours without it have maps alone
        features: Tensor = model.forward_features(images)
        return features
    maps: Any = model.forward_intermediates(images, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True)
    last: Tensor = maps[-1]
    return last


@register_model
def segmenter(
    pretrained: bool = False,
    *,
    backbone: str = "resnet_nano",
    decoder: str = LINEAR,
    num_classes: int = 11,
    **kwargs: Any,
) -> nn.Module:
    """A network for semantic segmentation: a class for every pixel.

    Args:
        pretrained: there are no weights of its own; for timm's signature.
        backbone: name of a network of timm's or ours.
        decoder: in `DECODERS`.
        num_classes: how many a pixel can be of.
        kwargs: further arguments of the backbone.

    Raises:
        ConfigError: for an unknown backbone or decoder, and a decoder that doesn't take the backbone.
    """
    arguments = {key: value for key, value in kwargs.items() if key not in _LOADING}
    if not timm.is_model(backbone) or backbone == SEGMENTER:
        known = [name for name in timm.list_models() if name != SEGMENTER]
        raise ConfigError(f"{SEGMENTER}: there is no backbone {quoted(backbone)}.{nearest(str(backbone)[:80], known)}")
    if decoder not in DECODERS:
        hint = nearest(str(decoder)[:80], DECODERS)
        raise ConfigError(f"{SEGMENTER}: decoder must be one of {', '.join(DECODERS)}; got {quoted(decoder)}.{hint}")
    if num_classes < 1:
        raise ConfigError(f"{SEGMENTER}: num_classes must be at least 1; got {num_classes}")
    if decoder == LINEAR:
        network: Any = Segmenter(_without_head(backbone, arguments), num_classes)
    else:
        network = _of_library(decoder, backbone, num_classes, arguments)
        network.num_classes = num_classes
    config = timm.get_pretrained_cfg(backbone)
    network.pretrained_cfg = _input_of(config) if config else {}
    built: nn.Module = network
    return built


def _input_of(config: PretrainedCfg) -> dict[str, Any]:
    """How a backbone wants its images; nothing of its weights and its head, which a segmenter doesn't have."""
    names = ("input_size", "fixed_input_size", "interpolation", "crop_pct", "mean", "std")
    return {name: getattr(config, name) for name in names}


def _without_head(name: str, arguments: dict[str, Any]) -> nn.Module:
    """A backbone without head and pooling, so that all its parameters have a part in its last map."""
    arguments = {key: value for key, value in arguments.items() if key not in ("classifier", "global_pool")}
    try:
        # Some normalise before or after they pool; told that they don't pool, they do it before.
        model: Any = timm.create_model(name, num_classes=0, global_pool="", **arguments)
    except Exception:  # it has no such choice, or is built wrongly, which the next line tells
        model = timm.create_model(name, num_classes=0, **arguments)
    if hasattr(model, "prune_intermediate_layers"):
        model.prune_intermediate_layers(1, prune_norm=False, prune_head=True)
    if not hasattr(model, "forward_intermediates") and not hasattr(model, "forward_features"):
        raise ConfigError(f"{SEGMENTER}: {name} gives no maps; take another backbone, such as resnet18")
    return model  # type: ignore[no-any-return]


def _channels(backbone: nn.Module) -> int:
    """Of the last map."""
    told: Any = getattr(backbone, "feature_info", None)
    try:
        return int(told[-1]["num_chs"])
    except (TypeError, KeyError, IndexError) as error:
        name = type(backbone).__name__
        raise ConfigError(f"{SEGMENTER}: {name} does not say how many channels its last map has") from error


def _of_library(decoder: str, backbone: str, num_classes: int, arguments: dict[str, Any]) -> nn.Module:
    """A decoder of segmentation_models_pytorch, which asks timm for the backbone's maps."""
    try:
        import segmentation_models_pytorch as library
    except ImportError as error:
        raise ConfigError(
            f"decoder {decoder} needs segmentation_models_pytorch: pip install 'visionscope[dense]'; "
            f"{LINEAR} needs nothing"
        ) from error
    channels = arguments.pop(_CHANNELS, 3)
    if arguments:
        raise ConfigError(f"decoder {decoder} takes no arguments for the backbone; got {', '.join(arguments)}")
    try:
        network: nn.Module = library.create_model(
            decoder, encoder_name=f"tu-{backbone}", encoder_weights=None, in_channels=channels, classes=num_classes
        )
    except Exception as error:  # each of its encoders refuses in its own way; the cause stays attached
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise ConfigError(
            f"decoder {decoder} does not take the backbone {backbone} ({reason}); take {LINEAR}, which takes all, or a "
            "backbone that halves its maps five times, such as resnet18 (dpt: a plain transformer)"
        ) from error
    made: Any = network
    if made.requires_divisible_input_shape:
        made.check_input_shape = functools.partial(_check_size, decoder, int(made.encoder.output_stride))
    return network


def _check_size(decoder: str, stride: int, images: Tensor) -> None:
    """What the library calls before each pass; its own error names no remedy that our flags have."""
    height, width = images.shape[-2:]
    if height % stride or width % stride:
        fit = " x ".join(str(max(1, round(side / stride)) * stride) for side in (height, width))
        raise ConfigError(
            f"decoder {decoder} takes images whose height and width are multiples of {stride}; got {height} x {width}, "
            f"the nearest are {fit}; or take {LINEAR}, which takes all"
        )
