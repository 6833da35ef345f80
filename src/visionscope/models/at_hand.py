"""Where the weights of a model spec are, told before anything is loaded or fetched."""

from __future__ import annotations

from typing import Literal

import timm
from huggingface_hub import constants, try_to_load_from_cache

from visionscope.core.files import user_path
from visionscope.models.hub import hub_answers
from visionscope.models.spec import ModelSpec

Place = Literal["file", "here", "to fetch", "not here"]

_NAMES = ("model.safetensors", "pytorch_model.bin")


def weights_place(spec: ModelSpec) -> Place:
    """Where the weights of a spec are.

    Args:
        spec: of one network.

    Returns:
        `file` (the spec names one), `here` (with the package, in the hub's cache, set by a function), `to fetch`, or
        `not here`: the library has none, or the hub doesn't answer. torchvision's are `to fetch`, cached or not.
    """
    if spec.checkpoint is not None:
        return "file"
    if spec.source == "file":
        return "here"
    if spec.source == "torchvision":
        return "to fetch"
    if spec.source == "hf":
        path = user_path("model", spec.name)
        return "here" if path.exists() or _cached(spec.name) else _hub()
    config = timm.get_pretrained_cfg(spec.name) if timm.is_model(spec.name) else None
    if config is None or not config.has_weights:
        return "not here"
    if config.file or (config.hf_hub_id and _cached(config.hf_hub_id, config.hf_hub_filename)):
        return "here"
    return _hub()


def _cached(name: str, file: str | None = None) -> bool:
    files = (*((file,) if file else ()), *_NAMES)
    return any(isinstance(try_to_load_from_cache(name, one), str) for one in files)


def _hub() -> Place:
    return "to fetch" if not constants.HF_HUB_OFFLINE and hub_answers() else "not here"
