"""Trained weights that come with the package: where they lie, and what they say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from visionscope.models.checkpoint import own_metadata
from visionscope.models.weight_formats import read_content

SHIPPED = ("resnet_nano", "alternet_nano", "vit_nano")
"""The networks that have them, trained on `embedded`."""


def weights_file(name: str) -> Path:
    """The safetensors file of a network in `SHIPPED`; float16, loaded as float32.

    Args:
        name: of the network.
    """
    return Path(__file__).with_name("trained") / f"{name}.safetensors"


def card(name: str) -> Mapping[str, str]:
    """What a network in `SHIPPED` was trained on and how, and its scores on the test split, each as JSON.

    Args:
        name: of the network.

    Raises:
        ConfigError: when the file is not there or damaged.
    """
    return own_metadata(read_content(weights_file(name))[1])
