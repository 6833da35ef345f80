"""The network that a training begins with: a head for the data's classes, drop path in its blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from timm.layers.drop import DropPath
from torch import nn

from visionscope.core.classes import class_counts
from visionscope.core.finite import check_finite
from visionscope.core.inputs import image_like
from visionscope.core.logits import Readout, find_readout
from visionscope.core.sample import InputConfig
from visionscope.core.values import shown
from visionscope.errors import ConfigError, DataError
from visionscope.models.load import LoadedModel, NoWeightsError, load_model, state_digest
from visionscope.models.preprocessing import input_config, stated_parts
from visionscope.models.spec import ModelSpec, parse_spec
from visionscope.models.structure import code_digest, structure_digest
from visionscope.tracing.opaque import check_ready


def network_of(
    model: str | ModelSpec | nn.Module,
    input: InputConfig | None,
    classes: int,
    *,
    seed: int,
    drop_path: float,
    note: Callable[[str], None],
) -> LoadedModel:
    """The network that a training begins with, of a spec or as it was handed in.

    Args:
        model: a model spec, or a network.
        input: how a network wants its images, or None.
        classes: of the data.
        seed: of random weights.
        drop_path: rate of stochastic depth.
        note: takes a line for the user.

    Raises:
        ConfigError: as `network_for` and `handed_network`, and for `input` beside a spec.
    """
    if isinstance(model, nn.Module):
        return handed_network(model, input, drop_path=drop_path, note=note)
    if input is not None:
        raise ConfigError("input: is for a network given as such; a model spec has its own, leave it out")
    return network_for(model, classes, seed=seed, drop_path=drop_path, note=note)


def network_for(
    spec: str | ModelSpec,
    classes: int,
    *,
    seed: int,
    drop_path: float = 0.0,
    pretrained: bool = False,
    note: Callable[[str], None],
) -> LoadedModel:
    """Loads a network for training, with a head of as many classes as the data have.

    Without `@FILE` its weights are random, from the seed. A trained network's head of another size is replaced.

    Args:
        spec: a model spec.
        classes: of the data; 0 where the data don't say, which leaves the head as it is.
        seed: of random weights.
        drop_path: rate of stochastic depth; a network that has none of it is trained without, which is noted.
        pretrained: whether weights of its source are taken where no file is named.
        note: takes a line for the user.

    Raises:
        ConfigError: for a spec that is refused, weights that are not available, or a trained network whose head can't
            be replaced.
    """
    given = parse_spec(spec) if isinstance(spec, str) else spec
    try:
        loaded = _load(given, None if given.checkpoint or pretrained else seed, drop_path, note)
    except NoWeightsError as error:
        instead = "leave out --from-pretrained, for random ones"
        raise NoWeightsError(error.name, error.reason, instead) from error
    if not classes or loaded.num_classes in (None, classes):
        return loaded
    if given.checkpoint is None and not pretrained:
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


def check_network(model: object) -> None:
    """Refuses what is neither a network nor a spec.

    Args:
        model: as a notebook gave it.

    Raises:
        ConfigError: naming what it is.
    """
    if isinstance(model, (nn.Module, str, ModelSpec)):
        return
    of_class = isinstance(model, type) and issubclass(model, nn.Module)
    hint = f"; pass an instance, such as {model.__name__}(...)" if of_class else ""  # type: ignore[attr-defined]
    raise ConfigError(f"model: must be a torch.nn.Module or a model spec; got {shown(model)}{hint}")


def handed_network(
    network: nn.Module, input: InputConfig | None, *, drop_path: float = 0.0, note: Callable[[str], None]
) -> LoadedModel:
    """A network of a notebook, ready for training.

    Args:
        network: with the weights that the training begins with; it is trained itself.
        input: size and normalisation of its images, or None where its `pretrained_cfg` says them.
        drop_path: of the recipe, which only the function that makes a network can give it; that is noted.
        note: takes a line for the user.

    Raises:
        ConfigError: where nothing says how it wants its images, and for weights that can't be trained.
    """
    name = type(network).__name__
    check_ready(network)
    check_finite(network, name)
    parts = {} if input is not None else stated_parts(network)
    missing = [key for key in ("size", "mean", "std") if key not in parts]
    if input is None and missing:
        raise ConfigError(
            f"input: {name} does not say how it wants its images; give its {', '.join(missing)}, such as "
            "input=InputConfig(size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))"
        )
    if drop_path and not _has_drop_path(network):
        note(f"{name}: it has no drop path, so drop_path {drop_path} is left out")
    architecture = f"{structure_digest(network)} {code_digest(network)}"
    return LoadedModel(
        model=network,
        label=name,
        spec=ModelSpec(label=name, source="", name=name),
        weights="as given",
        architecture=architecture,
        input=input or input_config(name, parts, {}),
        num_classes=None,
        digest=state_digest(network, architecture),
    )


def check_head(loaded: LoadedModel, config: InputConfig, largest: int, *, dense: bool = False) -> Readout:
    """Where the network's logits are and how many classes they tell apart, found by running it.

    Args:
        loaded: the network, in evaluation mode.
        config: how it wants its images.
        largest: label of the data.
        dense: whether the data have a class for each pixel.

    Raises:
        ConfigError: when the head has too few classes, or answers per image where the data have masks, or per pixel
            where they have labels.
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
    if dense != found.dense:
        answers, asked = ("pixel", "image") if found.dense else ("image", "pixel")
        remedy = "; name a backbone with --task segmentation, or return logits (batch, class, height, width)"
        remedy += f", which its output {found.per_pixel} could be, alone" if found.per_pixel else ""
        raise ConfigError(
            f"{loaded.label}: it answers per {answers}, and the data have a class for each {asked}"
            + (remedy if dense else "")
        )
    if largest >= found.classes:
        raise ConfigError(f"{loaded.label}: its head has {found.classes} classes, too few for label {largest}")
    return found


def _load(spec: ModelSpec, fresh: int | None, drop_path: float, note: Callable[[str], None]) -> LoadedModel:
    """The network with drop path where it can have it; its spec keeps no word of it, for the weights need none.

    `fresh` is the seed of random weights, or None.
    """
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
    if not _has_drop_path(loaded.model):
        note(f"{loaded.label}: it has no drop path, so drop_path {drop_path} is left out")
    return loaded


def _has_drop_path(network: nn.Module) -> bool:
    return any(module.drop_prob for module in network.modules() if isinstance(module, DropPath))
