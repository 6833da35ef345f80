"""What turns the maps of a backbone into a class for every pixel, by name; needs neither torch nor timm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionscope.errors import ConfigError
from visionscope.models.spec import ModelSpec, parse_spec

LINEAR = "linear"

DECODERS = (
    LINEAR,
    *("unet", "unetplusplus", "manet", "linknet", "fpn", "pspnet", "pan", "deeplabv3", "deeplabv3plus", "upernet"),
    *("segformer", "dpt"),
)
"""`linear` is ours; the others are the architectures of segmentation_models_pytorch (extra `dense`)."""

SEGMENTER = "segmenter"
"""The name of the networks made of a backbone and a decoder, in a model spec."""


def segmenter_spec(text: str | ModelSpec, decoder: str) -> ModelSpec:
    """The segmenter of a backbone, or the one that a spec names, with the decoder that is asked for if it names none.

    Args:
        text: a model spec, of a backbone or of a segmenter.
        decoder: in `DECODERS`; `linear` stands for none that was asked for.

    Raises:
        ConfigError: for a backbone of another source than timm, with weights, or with an argument `backbone`, and a
            decoder beside a segmenter that has its own, as one from a file has, beside a backbone whose arguments
            name another, or beside a network of one's own.
    """
    spec = parse_spec(text) if isinstance(text, str) else text
    if spec.source == "timm" and spec.name == SEGMENTER:
        if decoder not in (LINEAR, spec.arguments.get("decoder", decoder)) or (decoder != LINEAR and spec.checkpoint):
            raise ConfigError(f"decoder: {spec.label} has its own; leave it out, or name a backbone; got {decoder!r}")
        if decoder == LINEAR or "decoder" in spec.arguments:
            return spec
        return _parsed({**spec.arguments, "decoder": decoder})
    if spec.source == "file":
        check_no_decoder(decoder, spec.label)
        return spec  # whatever it returns has to answer per pixel
    if spec.source != "timm":
        raise ConfigError(f"--task segmentation takes backbones of timm and ours, as resnet18; got {spec.text!r}")
    if spec.checkpoint is not None:
        raise ConfigError(
            f"--task segmentation begins with random weights, or goes on from {SEGMENTER}@FILE; got {spec.text!r}"
        )
    if "backbone" in spec.arguments:
        raise ConfigError(
            f"backbone: {spec.name} is the backbone already; leave the argument out; got {spec.arguments['backbone']!r}"
        )
    own = spec.arguments.get("decoder", decoder)
    if decoder not in (LINEAR, own):
        raise ConfigError(f"decoder: {spec.label} names {own!r} already; leave one of them out; got {decoder!r}")
    return _parsed({"backbone": spec.name, "decoder": decoder, **spec.arguments})


def check_no_decoder(decoder: str, label: str) -> None:
    """Refuses a decoder beside a network of one's own, which has to answer per pixel as it is.

    Args:
        decoder: in `DECODERS`.
        label: of the network.

    Raises:
        ConfigError: for another than `linear`, the default.
    """
    if decoder != LINEAR:
        raise ConfigError(
            f"decoder: {label} is a network of your own, which answers per pixel as it is; leave it out, or name a "
            f"backbone; got {decoder!r}"
        )


def _parsed(arguments: Mapping[str, Any]) -> ModelSpec:
    return parse_spec(ModelSpec(label="", source="timm", name=SEGMENTER, arguments=arguments).text)
