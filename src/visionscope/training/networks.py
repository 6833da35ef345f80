"""The network that a training begins with: a head for the data's classes, drop path in its blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from timm.layers.drop import DropPath

from visionscope.core.classes import class_counts
from visionscope.core.inputs import image_like
from visionscope.core.logits import Readout, find_readout
from visionscope.core.sample import InputConfig
from visionscope.errors import ConfigError, DataError
from visionscope.models.load import LoadedModel, load_model
from visionscope.models.spec import ModelSpec, parse_spec


def network_for(
    spec: str | ModelSpec, classes: int, *, seed: int, drop_path: float = 0.0, note: Callable[[str], None]
) -> LoadedModel:
    """Loads a network for training, with a head of as many classes as the data have.

    Without `@FILE` its weights are random, from the seed. A checkpoint's head of another size is replaced.

    Args:
        spec: a model spec.
        classes: of the data; 0 where the data don't say, which leaves the head as it is.
        seed: of random weights.
        drop_path: rate of stochastic depth; a network that has none of it is trained without, which is noted.
        note: takes a line for the user.

    Raises:
        ConfigError: for a spec that is refused, or a checkpoint whose head can't be replaced.
    """
    given = parse_spec(spec) if isinstance(spec, str) else spec
    loaded = _load(given, seed, drop_path, note)
    if not classes or loaded.num_classes in (None, classes):
        return loaded
    if given.checkpoint is None:
        head = "num_labels" if given.source == "hf" else "num_classes"
        headed = dataclasses.replace(given, arguments={**given.arguments, head: classes})
        return _load(headed, seed, drop_path, note=lambda line: None)
    reset: Any = getattr(loaded.model, "reset_classifier", None)
    if reset is None:
        raise ConfigError(
            f"{loaded.label}: its head has {loaded.num_classes} classes and the data have {classes}; it can't be "
            "replaced, because the network has no reset_classifier"
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed GPUs, too
        reset(classes)
    note(f"{loaded.label}: its head of {loaded.num_classes} classes is replaced by a fresh one of {classes}")
    return dataclasses.replace(loaded, num_classes=classes)


def check_head(loaded: LoadedModel, config: InputConfig, largest: int) -> Readout:
    """Where the network's logits are and how many classes they tell apart, found by running it.

    Args:
        loaded: the network, in evaluation mode.
        config: how it wants its images.
        largest: label of the data.

    Raises:
        ConfigError: when the head has too few classes.
        DataError: when the network gives no logits, or more than one output that could be.
    """
    counts = class_counts(loaded.model, spec=loaded.num_classes)
    shape = (len(config.mean), *config.size)
    with torch.inference_mode():
        try:
            images = torch.zeros(2, *shape).to(image_like(loaded.model, shape))
            found = find_readout(loaded.model, images, counts)
        except DataError as error:
            raise DataError(f"{loaded.label}: {error}") from error
    if largest >= found.classes:
        raise ConfigError(f"{loaded.label}: its head has {found.classes} classes, too few for label {largest}")
    return found


def _load(spec: ModelSpec, seed: int, drop_path: float, note: Callable[[str], None]) -> LoadedModel:
    """The network with drop path where it can have it; its spec keeps no word of it, for the weights need none."""
    fresh = None if spec.checkpoint else seed
    if not drop_path or "drop_path_rate" in spec.arguments:
        return load_model(spec, random_weights=fresh)
    try:
        if spec.source != "timm":
            raise ConfigError("only timm's networks have such an argument")
        rated = dataclasses.replace(spec, arguments={**spec.arguments, "drop_path_rate": drop_path})
        loaded = load_model(rated, random_weights=fresh)
        arguments = {name: value for name, value in loaded.spec.arguments.items() if name != "drop_path_rate"}
        loaded = dataclasses.replace(loaded, spec=dataclasses.replace(loaded.spec, arguments=arguments))
    except ConfigError:  # its constructor has no such argument, or the spec is wrong, which loading it says plainly
        loaded = load_model(spec, random_weights=fresh)
    if not any(module.drop_prob for module in loaded.model.modules() if isinstance(module, DropPath)):
        note(f"{loaded.label}: it has no drop path, so drop_path {drop_path} is left out")
    return loaded
